"""The fixtures every test may use: real servers (`mariadb`, `mysql`, `postgres`, `start_server`)."""

pytest_plugins = ["warmline_toolkit.servers.testing"]
