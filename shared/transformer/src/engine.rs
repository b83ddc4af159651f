//! One run of one piece of code, within limits of time, heap, stack and output.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use domain::transformation::{CODE_MAX, OUTPUT_MAX, Outcome, Transformed, Webhook};
use rquickjs::context::{EvalOptions, intrinsic};
use rquickjs::{CatchResultExt as _, CaughtError, Context, Ctx, Function, Object, Runtime, Value};
use runtime::clock::SharedClock;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// How long one run may take. A call that stays inside the interpreter's C code for longer is not interrupted: that
/// has to end with the process (docs/adr/0031-transformations.md).
pub const RUN_MAX: Duration = Duration::from_millis(250);
/// Most bytes of heap of one run.
pub const HEAP_MAX: usize = 32 * 1024 * 1024;
/// Most bytes of stack of one run.
pub const STACK_MAX: usize = 256 * 1024;
/// The interpreter looks up so often at most: every ten thousand jumps back and calls. The limit that does not
/// depend on how fast the machine is.
const LOOKS_MAX: u32 = 10_000;
/// Most bytes that are kept of an exception's text.
const ERROR_MAX: usize = 500;
/// What stack traces call the code.
const FILE: &str = "transformation";

/// The built-in objects, besides those of the language itself. Not among them: modules, workers, `SharedArrayBuffer`'s
/// waiting, clocks of high resolution, `Proxy` and weak references, which transformations do without.
type Intrinsics = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
);

/// Whether the limit of time ended a run.
#[derive(Clone, Debug, Default)]
struct TimedOut(Rc<Cell<bool>>);

/// Runs `code` in an interpreter of its own, which ends with it, and transforms a webhook.
pub fn transform(clock: &SharedClock, code: &str, webhook: &Webhook) -> Outcome {
    run(clock, code, Some(webhook))
}

/// Runs `code` in an interpreter of its own and looks whether it has a `handler`, which is not called.
pub fn check(clock: &SharedClock, code: &str) -> Outcome {
    run(clock, code, None)
}

pub(crate) fn run(clock: &SharedClock, code: &str, webhook: Option<&Webhook>) -> Outcome {
    if code.chars().count() > CODE_MAX {
        return Outcome::failed(format!("the code has more than {CODE_MAX} characters"));
    }
    let timed_out = TimedOut::default();
    let outcome = interpreter(clock, &timed_out)
        .map_err(|_| Outcome::failed("the interpreter did not start"))
        .and_then(|context| {
            context.with(|ctx| match webhook {
                Some(webhook) => call(&ctx, code, webhook),
                None => handler(&ctx, code).map(|_| Outcome::Checked),
            })
        });
    match outcome {
        // Whatever it looked like inside.
        _ if timed_out.0.get() => {
            Outcome::failed(format!("the transformation took longer than {} ms", RUN_MAX.as_millis()))
        }
        Ok(outcome) | Err(outcome) => outcome,
    }
}

fn interpreter(clock: &SharedClock, timed_out: &TimedOut) -> rquickjs::Result<Context> {
    let runtime = Runtime::new()?;
    runtime.set_memory_limit(HEAP_MAX);
    runtime.set_max_stack_size(STACK_MAX);
    let (clock, timed_out, begun) = (clock.clone(), timed_out.clone(), clock.now());
    let mut looks = 0;
    runtime.set_interrupt_handler(Some(Box::new(move || {
        looks += 1;
        let ends = looks > LOOKS_MAX || clock.now().since(begun) > RUN_MAX;
        if ends {
            timed_out.0.set(true);
        }
        ends
    })));
    Context::custom::<Intrinsics>(&runtime)
}

/// Runs the code, and gives the function that it declares.
fn handler<'js>(ctx: &Ctx<'js>, code: &str) -> Result<Function<'js>, Outcome> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(FILE.to_owned());
    caught(ctx, ctx.eval_with_options::<(), _>(code, options))?;
    // A `const` is no property of the global object.
    let handler = ctx.eval::<Option<Function<'_>>, _>("typeof handler === 'function' ? handler : undefined");
    caught(ctx, handler)?.ok_or_else(|| Outcome::failed("the code has no function `handler`"))
}

fn call(ctx: &Ctx<'_>, code: &str, webhook: &Webhook) -> Result<Outcome, Outcome> {
    let asked = serde_json::to_string(webhook).map_err(|error| Outcome::failed(error.to_string()))?;
    let asked: Object<'_> = caught(ctx, ctx.json_parse(asked).and_then(|value| value.get()))?;
    // Before the code can change how objects become text.
    let payload = caught(ctx, asked.get::<_, Value<'_>>("payload"))?;
    let before = text(ctx, payload)?;
    let handler = handler(ctx, code)?;
    let returned: Value<'_> = caught(ctx, handler.call((asked,)))?;
    if returned.is_promise() {
        return Err(Outcome::failed(
            "`handler` is asynchronous: it has to return the webhook, not a promise",
        ));
    }
    if !returned.is_object() || returned.is_array() || returned.is_function() {
        let kind = if returned.is_array() { "array" } else { returned.type_name() };
        return Err(Outcome::failed(format!("`handler` returned {kind}: it has to return the webhook")));
    }
    let Some(returned) = text(ctx, returned)? else {
        return Err(Outcome::failed("`handler` returned what cannot be JSON"));
    };
    if returned.len() > OUTPUT_MAX {
        return Err(Outcome::failed(format!("what `handler` returned has more than {OUTPUT_MAX} bytes")));
    }
    read(&returned, before.as_deref(), webhook)
}

/// What `handler` may set.
#[derive(Deserialize)]
struct Returned<'a> {
    method: Option<String>,
    url: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    headers: Option<BTreeMap<String, String>>,
    cancel: Option<bool>,
}

/// A value that is there, though it may be `null`.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// Reads what `handler` returned; `before` is the payload as the interpreter writes it.
fn read(returned: &str, before: Option<&str>, webhook: &Webhook) -> Result<Outcome, Outcome> {
    let invalid = |error: serde_json::Error| {
        Outcome::failed(format!("`handler` returned an invalid webhook: {}", short(&error.to_string())))
    };
    let returned: Returned<'_> = serde_json::from_str(returned).map_err(invalid)?;
    if returned.cancel == Some(true) {
        return Ok(Outcome::Cancel);
    }
    let method = returned.method.unwrap_or_else(|| webhook.method.clone()).to_ascii_uppercase();
    if !["POST", "PUT", "PATCH"].contains(&method.as_str()) {
        return Err(Outcome::failed("`method` has to be POST, PUT or PATCH"));
    }
    // An untouched payload is sent byte for byte as it was posted.
    let payload = returned.payload.map(RawValue::get).filter(|payload| Some(*payload) != before);
    Ok(Outcome::Send(Transformed {
        method,
        url: returned.url.unwrap_or_else(|| webhook.url.clone()),
        payload: payload.map(str::to_owned),
        headers: returned.headers.unwrap_or_default(),
    }))
}

/// A value as JSON; none where it has none.
fn text<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Option<String>, Outcome> {
    caught(ctx, ctx.json_stringify(value).and_then(|text| text.map(|text| text.to_string()).transpose()))
}

/// What was thrown, as an outcome.
fn caught<'js, T>(ctx: &Ctx<'js>, result: rquickjs::Result<T>) -> Result<T, Outcome> {
    result.catch(ctx).map_err(|error| match error {
        CaughtError::Exception(exception) => {
            let message = exception.message().unwrap_or_default();
            if message == "out of memory" {
                return out_of_memory();
            }
            let name = exception.as_object().get::<_, String>("name").unwrap_or_default();
            let error = match (name.as_str(), message.as_str()) {
                ("", message) => message.to_owned(),
                (name, "") => name.to_owned(),
                (name, message) => format!("{name}: {message}"),
            };
            let line = exception.stack().as_deref().and_then(line_of);
            Outcome::Failed { error: short(&error), line }
        }
        // Where there is no memory for an exception, either, it looks as if `null` were thrown.
        CaughtError::Value(value) if value.is_null() => {
            let Outcome::Failed { error, line } = out_of_memory() else { return out_of_memory() };
            Outcome::Failed { error: format!("thrown: null, or {error}"), line }
        }
        CaughtError::Value(value) => {
            let thrown = value.get::<String>().unwrap_or_else(|_| value.type_name().to_owned());
            Outcome::failed(short(&format!("thrown: {thrown}")))
        }
        CaughtError::Error(rquickjs::Error::Allocation) => out_of_memory(),
        CaughtError::Error(error) => Outcome::failed(short(&error.to_string())),
    })
}

fn out_of_memory() -> Outcome {
    Outcome::failed(format!("the transformation used more than {} MB of memory", HEAP_MAX / 1024 / 1024))
}

/// The first line of the code that a stack trace names.
fn line_of(stack: &str) -> Option<u32> {
    let (_, rest) = stack.split_once(&format!("{FILE}:"))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn short(text: &str) -> String {
    text[..text.floor_char_boundary(ERROR_MAX)].to_owned()
}
