//! Changing JSON objects by path.

use serde_json::{Map, Value};

/// Sets a field; what stands on the way to it and is no object becomes one.
pub(crate) fn put(object: &mut Value, path: &[&str], value: Value) {
    let Some((field, rest)) = path.split_first() else {
        *object = value;
        return;
    };
    put(child(object, field), rest, value);
}

/// A field to be changed; made when it is not there.
pub(crate) fn child<'a>(object: &'a mut Value, field: &str) -> &'a mut Value {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    match object {
        Value::Object(fields) => fields.entry(field).or_insert(Value::Null),
        _ => unreachable!("it was made an object"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_way_to_a_field_is_made() {
        let mut object = json!({"a": 1});
        put(&mut object, &["a", "b"], json!(2));
        put(&mut object, &["c"], json!(3));
        assert_eq!(object, json!({"a": {"b": 2}, "c": 3}));
    }
}
