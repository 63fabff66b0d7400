//! A condition in CEL that a device must meet, written as in a DeviceClass: `device.driver`,
//! `device.attributes["<domain>"].<name>`, `device.capacity["<domain>"].<name>`.
//!
//! The condition is the operator's, yet nothing it says may take the daemon down: the evaluator recurses without limit,
//! so text, nesting and operators are capped before it is compiled, and it runs on a thread of its own with a big
//! stack. It is tried on a sample device when it is made, so that a wrong name or type shows at start. An error on a
//! real device (an attribute that this one lacks) hides that device, with the error as the reason.

mod device;
mod functions;
#[cfg(test)]
mod fuzzing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use cel::{Context, Env, Program, Value};
use network_driver_common::model::{Attributes, Device, DriverName};

use super::{Candidate, DeviceFilter, Verdict};

/// Longest condition in bytes.
const MAX_BYTES: usize = 2048;
/// Deepest nesting of brackets.
const MAX_DEPTH: usize = 16;
/// Most operators.
const MAX_OPERATORS: usize = 64;
/// Most dots: each field of a field is a step down.
const MAX_DOTS: usize = 256;
/// Stack of the thread that evaluates.
const STACK_BYTES: usize = 16 << 20;

/// A condition that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// It is too long or too deep.
    #[error("filter has {found} {what}, at most {max} are allowed")]
    TooBig {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// It is no CEL expression.
    #[error("filter is no CEL expression: {0}")]
    Syntax(String),
    /// It cannot be evaluated.
    #[error("filter cannot be evaluated on a sample device: {0}")]
    Evaluation(String),
    /// It is not a condition.
    #[error("filter gives {0}, not true or false")]
    NotBool(String),
    /// There is no thread to run it on.
    #[error("start the thread that evaluates the filter")]
    Thread,
}

/// A checked condition.
pub struct CelFilter {
    text: String,
    questions: Sender<Question>,
}

/// Name → quantity.
type Capacity = BTreeMap<String, String>;

/// What is said of a device, and where the answer goes.
struct Question {
    attributes: Attributes,
    capacity: Capacity,
    answer: SyncSender<Result<bool, String>>,
}

impl fmt::Debug for CelFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CelFilter").field(&self.text).finish()
    }
}

impl CelFilter {
    /// Compiles a condition and tries it on `sample`, which should have every attribute that there is.
    ///
    /// # Errors
    /// It is too big, no CEL, fails on the sample or is no condition.
    pub fn new(text: &str, driver: &DriverName, sample: Attributes) -> Result<Self, InvalidFilter> {
        check_size(text)?;
        let (questions, asked) = channel();
        let (ready, checked) = sync_channel(1);
        let (source, driver) = (text.to_owned(), driver.clone());
        std::thread::Builder::new()
            .name("filter".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || match Condition::new(&source, driver, &sample) {
                Ok(condition) => {
                    drop(ready.send(Ok(())));
                    condition.serve(&asked);
                }
                Err(error) => drop(ready.send(Err(error))),
            })
            .map_err(|_| InvalidFilter::Thread)?;
        checked.recv().map_err(|_| InvalidFilter::Thread)??;
        Ok(Self {
            text: text.to_owned(),
            questions,
        })
    }

    fn ask(&self, device: &Device) -> Result<bool, String> {
        let gone = || "the evaluator has ended".to_owned();
        let (answer, answered) = sync_channel(1);
        let question = Question {
            attributes: device.attributes.clone(),
            capacity: device.capacity.clone(),
            answer,
        };
        self.questions.send(question).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

impl DeviceFilter for CelFilter {
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        match self.ask(&candidate.device) {
            Ok(true) => Verdict::Advertise,
            Ok(false) => Verdict::hide("does not meet the filter (see --filter)"),
            Err(error) => Verdict::hide(format!(
                "cannot be judged by the filter (see --filter): {error}"
            )),
        }
    }
}

/// A compiled condition, at home on the thread that evaluates it.
struct Condition {
    program: Program,
    env: Arc<Env>,
    driver: DriverName,
}

impl Condition {
    fn new(text: &str, driver: DriverName, sample: &Attributes) -> Result<Self, InvalidFilter> {
        let mut env = Env::stdlib();
        env.add_extension(cel::extensions::strings)
            .map_err(|error| InvalidFilter::Syntax(error.to_string()))?;
        let program = env
            .compile(text)
            .map_err(|error| InvalidFilter::Syntax(error.to_string()))?;
        let env = Arc::new(env);
        let condition = Self {
            program,
            env,
            driver,
        };
        match condition.evaluate(sample, &Capacity::new()) {
            Ok(Value::Bool(_)) => Ok(condition),
            Ok(value) => Err(InvalidFilter::NotBool(value.type_of().to_string())),
            Err(error) => Err(InvalidFilter::Evaluation(error)),
        }
    }

    fn serve(&self, questions: &Receiver<Question>) {
        while let Ok(question) = questions.recv() {
            let result = match self.evaluate(&question.attributes, &question.capacity) {
                Ok(Value::Bool(met)) => Ok(met),
                Ok(value) => Err(format!("it gives {}", value.type_of())),
                Err(error) => Err(error),
            };
            drop(question.answer.send(result));
        }
    }

    fn evaluate(&self, attributes: &Attributes, capacity: &Capacity) -> Result<Value, String> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        functions::add(&mut context).map_err(|error| error.to_string())?;
        let device = device::value(&self.driver, attributes, capacity);
        context.add_variable_as_val("device", device);
        self.program
            .execute(&context)
            .map_err(|error| error.to_string())
    }
}

/// Refuses what could exhaust the stack.
fn check_size(text: &str) -> Result<(), InvalidFilter> {
    let (mut depth, mut deepest, mut operators, mut dots) = (0_usize, 0_usize, 0_usize, 0_usize);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth = depth.saturating_add(1),
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '.' => dots = dots.saturating_add(1),
            '+' | '-' | '*' | '/' | '%' | '<' | '>' | '=' | '!' | '&' | '|' | '?' => {
                operators = operators.saturating_add(1);
            }
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    // Two signs make one of these, `==` or `&&`.
    for (what, found, max) in [
        ("bytes", text.len(), MAX_BYTES),
        ("nested brackets", deepest, MAX_DEPTH),
        (
            "signs of operators",
            operators,
            MAX_OPERATORS.saturating_mul(2),
        ),
        ("dots", dots, MAX_DOTS),
    ] {
        if found > max {
            return Err(InvalidFilter::TooBig { what, found, max });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
