// Transfers through serverless-mysql, as its guide shows: transaction().query(...).query(...).commit()
const [url, first, count, accounts] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const { hostname, port, username, password } = new URL(url);
const mysql = require("serverless-mysql")({
  config: { host: hostname, port: Number(port), user: username, password, database: "app" },
});

async function main() {
  const said = {};
  for (let number = first; number < first + count; number++) {
    const source = number % accounts;
    const target = (number * 7 + 1) % accounts;
    try {
      await mysql
        .transaction()
        .query("UPDATE accounts SET amount = amount - 1 WHERE id = ?", [source])
        .query("UPDATE accounts SET amount = amount + 1 WHERE id = ?", [target])
        .query("INSERT INTO transfers VALUES (?, ?, ?)", [number, source, target])
        .commit();
      said[number] = "done";
    } catch (error) {
      // it does not say whether COMMIT was sent: taken at its word, nothing was kept
      said[number] = "failed";
    }
    await mysql.end();
  }
  mysql.quit();
  return said;
}

main().then(
  (said) => { process.stdout.write(JSON.stringify(said)); process.exit(0); },
  (error) => { console.error(error); process.exit(1); },
);
