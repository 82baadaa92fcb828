// The guide's kept connection: a TypeORM DataSource outside the handler, initialised once an environment.
import { DataSource, EntitySchema } from "typeorm";

const User = new EntitySchema({
  name: "User",
  tableName: "users",
  columns: {
    id: { type: Number, primary: true },
    name: { type: String },
    email: { type: String },
  },
});

const dataSource = new DataSource({
  type: process.env.DATABASE_URL.startsWith("postgres") ? "postgres" : "mysql",
  host: process.env.DB_HOST,
  port: Number(process.env.DB_PORT),
  username: process.env.DB_USER,
  password: process.env.DB_PASS,
  database: process.env.DB_NAME,
  entities: [User],
  poolSize: 1,
});

export const handler = async () => {
  if (!dataSource.isInitialized) await dataSource.initialize();
  const users = await dataSource.getRepository("User").find();
  return { statusCode: 200, body: JSON.stringify(users) };
};
