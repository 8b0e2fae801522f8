//! The form of the files: the schema and section 12 of protocol.md say the same, and the files follow.

use std::{collections::BTreeSet, fs};

use serde_json::{Deserializer, Value, json};

use crate::{
    document::{Document, quoted},
    vector::{self, FORMAT, Kind, Place, State, Vector},
};

#[test]
fn section_12_lists_what_the_schema_lists() {
    let (document, schema) = (Document::read(), schema());
    let column = |columns: &[&str], at: usize| -> BTreeSet<String> {
        let rows = &document.table(columns).rows;
        rows.iter().flat_map(|row| quoted(&row[at])).map(str::to_owned).collect()
    };
    let words = |list: &Value| -> BTreeSet<String> {
        let words = list.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word").to_owned());
        words.collect()
    };
    let members =
        |object: &Value| -> BTreeSet<String> { object.as_object().expect("an object").keys().cloned().collect() };
    let vector = &schema["$defs"]["vector"]["properties"];
    assert_eq!(column(&["member of a file", "holds"], 0), members(&schema["properties"]));
    assert_eq!(column(&["member of a vector", "holds"], 0), members(vector));
    assert_eq!(
        column(&["kind", "the bytes", "other members", "members of the value"], 0),
        words(&vector["kind"]["enum"])
    );
    let places = &schema["$defs"]["error"]["properties"]["where"]["enum"];
    assert_eq!(column(&["`where`", "meaning"], 0), words(places));
}

#[test]
fn the_vectors_that_section_12_shows_are_in_the_files() {
    let text = include_str!("../../../protocol.md");
    let (_, block) = text.split_once("```json\n").expect("section 12 shows some");
    let block = block.split("```").next().unwrap_or_default();
    let shown: Vec<Vector> = Deserializer::from_str(block).into_iter().map(Result::unwrap).collect();
    assert!(shown.len() >= 3);
    let vectors = vector::all();
    for vector in shown {
        assert!(vectors.contains(&vector), "{} is another one in the files", vector.name);
    }
}

fn schema() -> Value {
    let text = fs::read_to_string(vector::folder().join("schema.json")).expect("committed with the code");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn the_schema_allows_every_file() {
    let schema = schema();
    for file in vector::read_all() {
        let text = fs::read_to_string(file.path()).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let problems = problems(&schema, &schema, &value, &file.group);
        assert!(problems.is_empty(), "{problems:?}");
    }
}

#[test]
fn the_schema_lists_what_the_types_here_list() {
    let schema = schema();
    let vector = &schema["$defs"]["vector"];
    let listed = |path: &str| schema.pointer(path).unwrap_or_else(|| panic!("no {path}")).clone();
    assert_eq!(listed("/properties/format/const"), json!(FORMAT));
    assert_eq!(vector["properties"]["kind"]["enum"], json!(Kind::ALL));
    assert_eq!(vector["properties"]["state"]["enum"], json!([State::Hello, State::Open]));
    let places = json!([Place::GoAway, Place::Answer, Place::Client, Place::Ignored]);
    assert_eq!(listed("/$defs/error/properties/where/enum"), places);
}

#[test]
fn the_schema_refuses_what_is_not_a_file_of_vectors() {
    let schema = schema();
    let good = json!({"format": 1, "group": "a", "about": "b", "vectors": [
        {"name": "a", "kind": "body", "message": "Ping", "hex": "00", "value": {}},
    ]});
    assert_eq!(problems(&schema, &schema, &good, ""), Vec::<String>::new());
    let changes: [(&str, Value); 8] = [
        ("/format", json!(2)),
        ("/group", json!(7)),
        ("/vectors", json!({})),
        ("/vectors/0/kind", json!("letter")),
        ("/vectors/0/hex", json!(0)),
        ("/vectors/0/incomplete", json!(false)),
        ("/vectors/0/surprise", json!(1)),
        ("/vectors/0/error", json!({"code": 1, "name": "BadPreface", "where": "nowhere"})),
    ];
    for (path, value) in changes {
        let mut bad = good.clone();
        let (parent, member) = path.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[member] = value;
        assert!(!problems(&schema, &schema, &bad, "").is_empty(), "{path} is allowed");
    }
}

/// What a schema has against a value. Knows the keywords that our schema uses, and no others.
fn problems(root: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let mut require = |holds: bool| {
            if !holds {
                problems.push(format!("{path}: {keyword} {rule}"));
            }
        };
        match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "$defs" | "pattern" => {}
            "const" => require(rule == value),
            "enum" => require(rule.as_array().expect("a list").contains(value)),
            "type" => require(has_type(rule.as_str().expect("one type"), value)),
            "required" => {
                let names = rule.as_array().expect("a list").iter();
                names.for_each(|name| require(value.get(name.as_str().expect("a name")).is_some()));
            }
            "additionalProperties" => {
                let known = |name: &String| schema["properties"].get(name).is_some();
                require(value.as_object().is_none_or(|members| members.keys().all(known)));
            }
            "minimum" | "maximum" => {
                let (bound, number) = (rule.as_u64().expect("a number"), value.as_u64());
                require(
                    number.is_some_and(|number| if keyword == "minimum" { number >= bound } else { number <= bound }),
                );
            }
            "properties" => {
                for (name, rule) in rule.as_object().expect("members") {
                    let member = value.get(name).into_iter();
                    problems.extend(
                        member.flat_map(|member| self::problems(root, rule, member, &format!("{path}/{name}"))),
                    );
                }
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                problems.extend(items.flat_map(|(at, item)| self::problems(root, rule, item, &format!("{path}/{at}"))));
            }
            "$ref" => {
                let target = root.pointer(rule.as_str().expect("a path").trim_start_matches('#'));
                problems.extend(self::problems(root, target.expect("it is there"), value, path));
            }
            _ => panic!("the schema uses {keyword}, which this test does not know"),
        }
    }
    problems
}

fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        _ => panic!("the schema uses the type {name}, which this test does not know"),
    }
}
