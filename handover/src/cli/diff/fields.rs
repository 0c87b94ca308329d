//! What is other in one value than in another, field by field.

use serde::Serialize;
use shmstate::decode::Value;

/// A field that is other.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Difference {
    /// Names with dots between, `[i]` for the elements of a list, `{key}` for the entries of a map; empty for the whole value.
    pub(super) path: String,
    /// As Rust writes it; null if it was not there.
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
}

impl Difference {
    pub(super) fn new(path: &str, old: Option<String>, new: Option<String>) -> Self {
        Self {
            path: path.to_owned(),
            old,
            new,
        }
    }

    /// `score: 7 -> 8`
    pub(super) fn shown(&self) -> String {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "-".into());
        let change = format!("{} -> {}", side(&self.old), side(&self.new));
        match self.path.as_str() {
            "" => change,
            path => format!("{path}: {change}"),
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Adds what is other to `out`. Nothing, if the two are equal.
pub(super) fn compare(path: &str, old: &Value, new: &Value, out: &mut Vec<Difference>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Struct(a), Value::Struct(b)) => {
            let find = |fields: &[(String, Value)], name: &str| fields.iter().position(|(field, _)| field == name);
            for (name, before) in a {
                let at = joined(path, name);
                match find(b, name) {
                    Some(i) => compare(&at, before, &b[i].1, out),
                    None => out.push(Difference::new(&at, Some(before.to_string()), None)),
                }
            }
            for (name, now) in b.iter().filter(|(name, _)| find(a, name).is_none()) {
                out.push(Difference::new(&joined(path, name), None, Some(now.to_string())));
            }
        }
        (Value::Variant(a, before), Value::Variant(b, now)) if a == b => compare(&joined(path, a), before, now, out),
        (Value::List(a), Value::List(b)) if a.len() == b.len() => {
            for (i, (before, now)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{i}]"), before, now, out);
            }
        }
        (Value::Map(a), Value::Map(b)) => {
            let find = |entries: &[(Value, Value)], key: &Value| entries.iter().position(|(k, _)| k == key);
            for (key, before) in a {
                let at = format!("{path}{{{key}}}");
                match find(b, key) {
                    Some(i) => compare(&at, before, &b[i].1, out),
                    None => out.push(Difference::new(&at, Some(before.to_string()), None)),
                }
            }
            for (key, now) in b.iter().filter(|(key, _)| find(a, key).is_none()) {
                out.push(Difference::new(
                    &format!("{path}{{{key}}}"),
                    None,
                    Some(now.to_string()),
                ));
            }
        }
        _ => out.push(Difference::new(path, Some(old.to_string()), Some(new.to_string()))),
    }
}

/// A key or a number as JSON.
pub(super) fn json_of(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Value::Nothing => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Str(text) => Json::String(text.clone()),
        Value::Unsigned(number) => u64::try_from(*number).map_or_else(|_| Json::String(number.to_string()), Json::from),
        Value::Signed(number) => i64::try_from(*number).map_or_else(|_| Json::String(number.to_string()), Json::from),
        Value::List(items) => items.iter().map(json_of).collect(),
        other => Json::String(other.to_string()),
    }
}
