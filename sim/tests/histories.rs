//! The checker against recorded histories whose verdicts are known, written by others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use understudy_sim::linearizability::{Model, Operation, Verdict, check};

/// Ten times what the hardest recorded key needs (80,845, one of `kv/c50-bad`): a search that reaches
/// it has lost its way.
const BUDGET_STEPS: u64 = 1_000_000;

#[test]
fn recorded_histories_get_their_known_verdicts() {
    let Some(folder) = histories_folder() else { return };
    let verdicts = fs::read_to_string(folder.join("verdicts.json")).expect("verdicts.json");
    let verdicts: BTreeMap<String, Value> = serde_json::from_str(&verdicts).expect("a JSON map");
    let recorded = jsonl_files(&folder, &folder);
    let judged: BTreeSet<String> = verdicts.keys().cloned().collect();
    assert_eq!(recorded, judged, "each recorded history has a verdict, and each verdict a history");

    let mut wrong = Vec::new();
    let mut suites: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    let mut slowest = (Duration::ZERO, "");
    for (file, expected) in &verdicts {
        let started = Instant::now();
        let found = judge(&folder.join(file), expected);
        let elapsed = started.elapsed();
        slowest = slowest.max((elapsed, file));
        let suite = suites.entry(file.split('/').next().expect("a folder")).or_default();
        suite.0 += 1;
        suite.1 += elapsed;
        let expected = expected["linearizable"].as_bool().expect("a known verdict");
        match found {
            Verdict::Linearizable if expected => {}
            Verdict::Illegal { .. } if !expected => {}
            _ => wrong.push(format!("{file}: linearizable is {expected}, but found {found:?}")),
        }
    }
    for (suite, (count, elapsed)) in suites {
        println!("{suite}: {count} histories in {elapsed:.2?}");
    }
    println!("slowest: {} in {:.2?}", slowest.1, slowest.0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The folder beside the repository, or `None` where there is none and nobody insists.
fn histories_folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    if folder.is_dir() {
        return Some(folder);
    }
    let insists = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!insists, "CI must check the recorded histories, and `{}` is absent", folder.display());
    println!("skipped: the recorded histories `{}` are absent", folder.display());
    None
}

fn jsonl_files(root: &Path, folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files.extend(jsonl_files(root, &path));
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            let name = path.strip_prefix(root).expect("below the root");
            files.insert(name.to_str().expect("a name in UTF-8").to_owned());
        }
    }
    files
}

fn judge(file: &Path, expected: &Value) -> Verdict {
    let text = fs::read_to_string(file).expect("a readable history");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    match expected["model"].as_str() {
        Some("register") => {
            let init = expected["init"].as_i64();
            by_key(&lines, |_| Register { init }, register_operation)
        }
        Some("append") => by_key(&lines, Text::of, text_operation),
        other => panic!("a model this test does not know: {other:?}"),
    }
}

/// Judges each key alone: a history is linearizable if and only if each object's part is.
fn by_key<M: Model>(
    lines: &[Value],
    model: impl Fn(&[Operation<M>]) -> M,
    convert: impl Fn(&Value) -> (M::Input, Option<M::Output>),
) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<Operation<M>>> = BTreeMap::new();
    // A failed operation is promised to have had no effect.
    for line in lines.iter().filter(|line| line["result"] != "fail") {
        let (input, output) = convert(line);
        let known = line["result"] != "unknown";
        assert_eq!(known, line["return_ns"].is_u64(), "only an unknown outcome has no return");
        keys.entry(line["key"].as_str().expect("a key")).or_default().push(Operation {
            client: line["client"].as_u64().expect("a client"),
            call: line["call_ns"].as_u64().expect("a call"),
            ret: line["return_ns"].as_u64(),
            input,
            output: output.filter(|_| known),
        });
    }
    let mut overall = Verdict::Linearizable;
    for operations in keys.values() {
        match check(&model(operations), operations, BUDGET_STEPS) {
            Verdict::Linearizable => {}
            illegal @ Verdict::Illegal { .. } => overall = illegal,
            // Not even an illegal key makes up for one that could not be judged.
            Verdict::Exhausted => return Verdict::Exhausted,
        }
    }
    overall
}

/// One value, read, written, and compared and set by value.
struct Register {
    init: Option<i64>,
}

#[derive(Clone, Debug)]
enum RegisterInput {
    Read,
    Write(i64),
    CompareAndSet { expected: i64, value: i64 },
}

#[derive(Clone, Debug)]
enum RegisterOutput {
    Value(Option<i64>),
    Done,
    Conflict,
}

impl Model for Register {
    type State = Option<i64>;
    type Input = RegisterInput;
    type Output = RegisterOutput;

    fn init(&self) -> Option<i64> {
        self.init
    }

    fn step(
        &self,
        state: &Option<i64>,
        input: &RegisterInput,
        output: Option<&RegisterOutput>,
    ) -> Option<Option<i64>> {
        let (answer_fits, after) = match (input, output) {
            (RegisterInput::Read, Some(RegisterOutput::Value(value))) => (value == state, *state),
            (RegisterInput::Read, None) => (true, *state),
            (RegisterInput::Write(value), Some(RegisterOutput::Done) | None) => {
                (true, Some(*value))
            }
            (RegisterInput::CompareAndSet { expected, value }, output) => {
                let equal = *state == Some(*expected);
                let answer_fits = match output {
                    Some(RegisterOutput::Done) => equal,
                    Some(RegisterOutput::Conflict) => !equal,
                    Some(RegisterOutput::Value(_)) => false,
                    None => true,
                };
                (answer_fits, if equal { Some(*value) } else { *state })
            }
            (RegisterInput::Read | RegisterInput::Write(_), Some(_)) => (false, *state),
        };
        answer_fits.then_some(after)
    }

    fn reads_only(&self, input: &RegisterInput, output: Option<&RegisterOutput>) -> bool {
        matches!(input, RegisterInput::Read) || matches!(output, Some(RegisterOutput::Conflict))
    }
}

fn register_operation(line: &Value) -> (RegisterInput, Option<RegisterOutput>) {
    let number = |name: &str| line[name].as_i64().expect("a number");
    let input = match line["op"].as_str() {
        Some("read") => RegisterInput::Read,
        Some("write") => RegisterInput::Write(number("arg")),
        Some("cas") => {
            RegisterInput::CompareAndSet { expected: number("expected"), value: number("arg") }
        }
        other => panic!("no operation of a register: {other:?}"),
    };
    let output = match (&input, line["result"].as_str()) {
        (_, Some("conflict")) => Some(RegisterOutput::Conflict),
        (RegisterInput::Read, Some("ok")) => Some(RegisterOutput::Value(line["value"].as_i64())),
        (_, Some("ok")) => Some(RegisterOutput::Done),
        (_, Some("unknown")) => None,
        (_, other) => panic!("no result of a register: {other:?}"),
    };
    (input, output)
}

/// A text, read, written and appended to.
struct Text {
    /// Every text that a read returned.
    seen: BTreeSet<String>,
}

#[derive(Clone, Debug)]
enum TextInput {
    Read,
    Write(String),
    Append(String),
}

impl Text {
    fn of(operations: &[Operation<Self>]) -> Self {
        let reads = operations.iter().filter(|o| matches!(o.input, TextInput::Read));
        Self { seen: reads.filter_map(|o| o.output.clone()).collect() }
    }
}

impl Model for Text {
    /// `None`: a text that begins none of those seen. Appending to it leaves another such text, and no
    /// read tells them apart, so they are one state.
    type State = Option<String>;
    type Input = TextInput;
    /// What a read returned; empty for the others.
    type Output = String;

    fn init(&self) -> Option<String> {
        Some(String::new())
    }

    fn step(
        &self,
        state: &Option<String>,
        input: &TextInput,
        output: Option<&String>,
    ) -> Option<Option<String>> {
        let after = match input {
            TextInput::Read => {
                let answer_fits = output.is_none() || output == state.as_ref();
                return answer_fits.then(|| state.clone());
            }
            TextInput::Write(text) => Some(text.clone()),
            TextInput::Append(text) => state.as_ref().map(|before| format!("{before}{text}")),
        };
        let begins_one = |text: &String| {
            self.seen
                .range(text.clone()..)
                .next()
                .is_some_and(|seen| seen.starts_with(text.as_str()))
        };
        Some(after.filter(begins_one))
    }

    fn reads_only(&self, input: &TextInput, _output: Option<&String>) -> bool {
        matches!(input, TextInput::Read)
    }
}

fn text_operation(line: &Value) -> (TextInput, Option<String>) {
    let text = |name: &str| line[name].as_str().expect("a text").to_owned();
    match line["op"].as_str() {
        Some("read") if line["result"] == "unknown" => (TextInput::Read, None),
        Some("read") => (TextInput::Read, Some(text("value"))),
        Some("write") => (TextInput::Write(text("arg")), Some(String::new())),
        Some("append") => (TextInput::Append(text("arg")), Some(String::new())),
        other => panic!("no operation of a text: {other:?}"),
    }
}
