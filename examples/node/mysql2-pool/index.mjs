// The guide's pool: made once an environment, a connection lent to each invocation and released in `finally`.
import mysql from "mysql2/promise";

const pool = mysql.createPool({
  host: process.env.DB_HOST,
  port: Number(process.env.DB_PORT),
  user: process.env.DB_USER,
  password: process.env.DB_PASS,
  database: process.env.DB_NAME,
  waitForConnections: true,
  connectionLimit: 10,
  queueLimit: 0,
});

export const handler = async () => {
  const connection = await pool.getConnection();
  try {
    const [users] = await connection.query("SELECT id, name, email FROM users");
    return { statusCode: 200, body: JSON.stringify(users) };
  } finally {
    connection.release();
  }
};
