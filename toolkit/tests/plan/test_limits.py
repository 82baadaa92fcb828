"""AWS's published max_connections tables, row by row, and what stands beside them."""

from __future__ import annotations

import pytest
from warmline_toolkit.plan.errors import NoLimit, UnknownClass
from warmline_toolkit.plan.limits import by_formula, limit_of, provisioned_memory, serverless_memory, size_of, vcpus_of
from warmline_toolkit.plan.reference import shipped
from warmline_toolkit.plan.workload import Database

GIB = 1024**3

AURORA_MYSQL = {
    **dict.fromkeys(["t2.small", "t3.small"], 45),
    **dict.fromkeys(["t2.medium", "t3.medium", "t4g.medium"], 90),
    **dict.fromkeys(["t3.large", "t4g.large"], 135),
    **{
        f"{family}.{size}": value
        for family in ("r3", "r4", "r5", "r6g", "r6i")
        for size, value in {"large": 1000, "xlarge": 2000, "2xlarge": 3000, "4xlarge": 4000, "8xlarge": 5000}.items()
    },
    **{f"{family}.{size}": 6000 for family in ("r4", "r5", "r6g", "r6i") for size in ("12xlarge", "16xlarge")},
    "r5.24xlarge": 7000,
    "r6i.24xlarge": 7000,
    "r6i.32xlarge": 7000,
    "x2g.large": 2000,
    "x2g.xlarge": 3000,
    "x2g.2xlarge": 4000,
    "x2g.4xlarge": 5000,
    "x2g.8xlarge": 6000,
    "x2g.12xlarge": 7000,
    "x2g.16xlarge": 7000,
}
AURORA_POSTGRES = {
    "t3.medium": 420,
    "t4g.medium": 405,
    "t3.large": 844,
    "t4g.large": 844,
    "r4.large": 1600,
    "r5.large": 1600,
    "r6g.large": 1722,
    "r4.xlarge": 3200,
    "r5.xlarge": 3300,
    "r6g.xlarge": 3479,
    "x2g.large": 3479,
    **{f"r6g.{size}": 5000 for size in ("2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge")},
    "x2g.xlarge": 5000,
    "r5.24xlarge": 5000,
}
SERVERLESS = {
    "aurora-mysql": {1: 90, 4: 135, 8: 1000, 16: 2000, 32: 3000, 64: 4000, 128: 5000},
    "aurora-postgres": {1: 189, 4: 823, 8: 1669, 16: 3360, 32: 5000, 64: 5000, 128: 5000},
}


@pytest.mark.parametrize(("name", "expected"), AURORA_MYSQL.items())
def test_aurora_mysql_classes_have_the_limit_of_awss_table(name, expected):
    limit = limit_of(Database(engine="aurora-mysql", instance_class=f"db.{name}"), shipped())
    assert (limit.max_connections, limit.origin) == (expected, "documented")


@pytest.mark.parametrize(("name", "expected"), AURORA_POSTGRES.items())
def test_aurora_postgres_classes_have_the_limit_of_awss_table(name, expected):
    limit = limit_of(Database(engine="aurora-postgres", instance_class=f"db.{name}"), shipped())
    assert (limit.max_connections, limit.origin) == (expected, "documented")


@pytest.mark.parametrize(
    ("engine", "acu", "expected"), [(engine, *row) for engine, table in SERVERLESS.items() for row in table.items()]
)
def test_serverless_v2_has_the_limit_of_awss_table_by_maximum_capacity(engine, acu, expected):
    limit = limit_of(Database(engine=engine, min_acu=1, max_acu=acu), shipped())
    assert (limit.max_connections, limit.origin) == (expected, "documented")


@pytest.mark.parametrize("minimum", [0, 0.5])
def test_serverless_postgres_that_may_shrink_to_half_an_acu_is_capped_at_2000(minimum):
    limit = limit_of(Database(engine="aurora-postgres", min_acu=minimum, max_acu=64), shipped())
    assert limit.max_connections == 2000


@pytest.mark.parametrize(("acu", "expected"), list(SERVERLESS["aurora-postgres"].items()))
def test_the_formula_reproduces_the_serverless_postgres_table_within_one(acu, expected):
    assert abs(by_formula("aurora-postgres", serverless_memory(acu))[0] - expected) <= 1


@pytest.mark.parametrize(("acu", "expected"), [row for row in SERVERLESS["aurora-mysql"].items() if row[0] > 1])
def test_the_formula_reproduces_the_serverless_mysql_table_from_4_acu_on(acu, expected):
    assert by_formula("aurora-mysql", serverless_memory(acu))[0] == expected


@pytest.mark.parametrize(
    ("gib", "expected"), [(4, 90), (8, 135), (16, 1000), (32, 2000), (64, 3000), (128, 4000), (256, 5000), (512, 6000)]
)
def test_the_formula_reproduces_the_provisioned_aurora_mysql_table(gib, expected):
    assert by_formula("aurora-mysql", provisioned_memory(gib * GIB))[0] == expected


@pytest.mark.parametrize(("gib", "expected"), [(4, 405), (8, 844), (16, 1722), (32, 3479)])
def test_the_formula_reproduces_the_graviton_aurora_postgres_table_within_4(gib, expected):
    assert abs(by_formula("aurora-postgres", provisioned_memory(gib * GIB))[0] - expected) <= 4


def test_rds_mysql_of_16_gib_allows_about_1300_and_mariadb_half_of_it():
    mysql = limit_of(Database(engine="mysql", instance_class="db.r6g.large"), shipped())
    mariadb = limit_of(Database(engine="mariadb", instance_class="db.r6g.large"), shipped())
    assert mysql.max_connections == 1303
    assert mariadb.max_connections == mysql.max_connections // 2
    assert mysql.origin == "formula"


def test_a_value_read_from_a_server_goes_before_the_formula():
    limit = limit_of(Database(engine="mysql", instance_class="db.t3.medium"), shipped())
    assert (limit.max_connections, limit.origin) == (307, "observed")


def test_what_the_user_gives_goes_before_every_table():
    limit = limit_of(Database(engine="aurora-mysql", instance_class="db.r6g.large", max_connections=77), shipped())
    assert (limit.max_connections, limit.origin) == (77, "given")


def test_postgres_keeps_three_connections_for_awss_automation():
    limit = limit_of(Database(engine="postgres", instance_class="db.t4g.medium"), shipped())
    assert limit.for_functions == limit.max_connections - 3


def test_the_class_may_leave_out_its_prefix_and_knows_its_processors():
    assert size_of("r6g.4xlarge", shipped()).vcpus == 16
    assert vcpus_of(Database(instance_class="db.t4g.micro"), shipped()) == 2
    assert vcpus_of(Database(engine="aurora-mysql", max_acu=16), shipped()) == 4


def test_an_unknown_class_is_refused_with_the_nearest_names():
    with pytest.raises(UnknownClass, match=r"db\.r6g\.large"):
        limit_of(Database(instance_class="db.r6g.larg"), shipped())


def test_capacity_without_aurora_is_refused():
    with pytest.raises(UnknownClass, match="postgres"):
        limit_of(Database(engine="postgres", max_acu=8), shipped())


def test_a_database_without_any_size_has_no_limit_to_compare_with():
    with pytest.raises(NoLimit, match="orders"):
        limit_of(Database(name="orders"), shipped())
