"""Node handlers, run by the lab's own runtime client."""

from __future__ import annotations

import asyncio

import pytest
from warmline_toolkit.lab.environment import State
from warmline_toolkit.model.events import Initialised

pytestmark = pytest.mark.asyncio

STYLES = {
    "async ES module": ("index.mjs", "export const handler = async (event) => ({ got: event });"),
    "promise, CommonJS": ("index.js", "exports.handler = (event) => Promise.resolve({ got: event });"),
    "async .cjs": ("index.cjs", "module.exports.handler = async (event) => ({ got: event });"),
    "callback": ("index.js", "exports.handler = (event, context, callback) => callback(null, { got: event });"),
    "callback later": (
        "index.js",
        "exports.handler = (event, context, callback) => { setTimeout(() => callback(null, { got: event }), 20); };",
    ),
    "done": ("index.js", "exports.handler = (event, context) => context.succeed({ got: event });"),
}


@pytest.mark.parametrize("style", STYLES)
async def test_every_style_of_handler_answers(platform_of, style):
    name, source = STYLES[style]
    async with platform_of(source, name=name) as platform:
        results = [await platform.invoke({"n": number}) for number in range(3)]
    assert [result.json() for result in results] == [{"got": {"n": number}} for number in range(3)]
    assert [result.cold for result in results] == [True, False, False]


async def test_a_named_export_is_called_and_it_gets_lambdas_context(platform_of):
    source = """
exports.mine = async (event, context) => ({
  id: context.awsRequestId, left: context.getRemainingTimeInMillis(), name: context.functionName,
  arn: context.invokedFunctionArn, trace: process.env._X_AMZN_TRACE_ID });
"""
    async with platform_of(source, name="app.js", handler="app.js:mine", timeout_s=5) as platform:
        answer = (await platform.invoke()).json()
    assert len(answer["id"]) == 36
    assert 1000 < answer["left"] <= 5000
    assert answer["arn"].endswith(":function:lab-function")
    assert answer["trace"].startswith("Root=1-")


async def test_an_error_is_reported_in_lambdas_shape_with_the_databases_code(platform_of):
    source = """
exports.handler = async () => {
  const error = new Error("Too many connections"); error.code = "ER_CON_COUNT_ERROR"; throw error; };
"""
    async with platform_of(source, name="app.js") as platform:
        failed = await platform.invoke()
        again = await platform.invoke()
    assert (failed.outcome, failed.error_type, failed.error_code) == ("error", "Error", "1040")
    assert set(failed.json()) == {"errorType", "errorMessage", "trace"}
    assert again.cold is False


@pytest.mark.parametrize(
    ("source", "error_type"),
    [
        ("exports.other = 1;", "Runtime.HandlerNotFound"),
        ("exports.handler = 1;", "Runtime.HandlerNotFound"),
        ("require('nothing-of-that-name');", "Runtime.ImportModuleError"),
        ("this is not javascript", "Runtime.UserCodeSyntaxError"),
        ("throw new TypeError('at init');", "TypeError"),
    ],
)
async def test_a_module_that_cannot_be_loaded_fails_init(platform_of, events, source, error_type):
    async with platform_of(source, name="app.js") as platform:
        result = await platform.invoke()
    assert (result.outcome, result.error_type) == ("error", error_type)
    assert [event.outcome for event in events.of(Initialised)] == ["error", "error"]


async def test_an_open_handle_holds_a_callbacks_response_back_until_the_timeout(platform_of):
    source = """
setInterval(() => {}, 1000);
exports.handler = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = event.wait; callback(null, "done"); };
"""
    async with platform_of(source, name="app.js", timeout_s=1.0) as platform:
        at_once = await platform.invoke({"wait": False})
        held = await platform.invoke({"wait": True})
    assert at_once.json() == "done"
    assert held.outcome == "timeout"


THROWN_LATER = """
exports.handler = () => {
  setTimeout(() => { throw new Error("late"); }, 5);
  return new Promise(() => setTimeout(() => {}, 5000)); };
"""
REJECTED_ASIDE = """
exports.handler = () => {
  Promise.reject(new Error("late"));
  return new Promise(() => setTimeout(() => {}, 5000)); };
"""


@pytest.mark.parametrize(
    ("source", "error_type"),
    [(THROWN_LATER, "Runtime.UncaughtException"), (REJECTED_ASIDE, "Runtime.UnhandledPromiseRejection")],
)
async def test_an_error_outside_the_handlers_flow_is_reported_and_ends_the_process(platform_of, source, error_type):
    async with platform_of(source, name="app.js") as platform:
        result = await platform.invoke()
        assert (result.outcome, result.error_type) == ("error", error_type)
        assert platform.environments[0].state is State.RESET


async def test_a_promise_that_never_settles_with_nothing_left_to_do_is_a_crash(platform_of):
    async with platform_of("exports.handler = () => new Promise(() => {});", name="app.js") as platform:
        result = await platform.invoke()
    assert result.outcome == "crash"


async def test_a_timer_of_a_frozen_node_process_does_not_run_until_it_is_thawed(platform_of):
    source = """
let ticks = 0;
setInterval(() => { ticks += 1; }, 10);
exports.handler = async () => ticks;
"""
    async with platform_of(source, name="app.js") as platform:
        first = (await platform.invoke()).json()
        await asyncio.sleep(0.4)
        second = (await platform.invoke()).json()
    assert second - first < 10  # 40 if it had run
