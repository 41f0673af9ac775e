//! The types that TypeScript sees are those of `wit/events.wit`.

use std::fmt::Write as _;

use wit_parser::{Function, Interface, Resolve, Type, TypeDef, TypeDefKind};

use crate::harness::root;

/// The one that is written by hand, and its copies.
const TYPES: [&str; 3] = [
    "runtime/templates/typescript/all/pelton-events.d.ts",
    "examples/hello/typescript/pelton-events.d.ts",
    "examples/fleet/score/pelton-events.d.ts",
];

#[test]
fn the_types_for_typescript_are_those_of_the_contract() {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join("wit")).unwrap();
    let package = &resolve.packages[package];
    let mut expected = String::new();
    for (name, interface) in &package.interfaces {
        let version = package.name.version.as_ref().unwrap();
        writeln!(expected, "declare module \"pelton:events/{name}@{version}\" {{").unwrap();
        expected += &module(&resolve, &resolve.interfaces[*interface]);
        expected += "}\n";
    }
    let written = std::fs::read_to_string(root().join(TYPES[0])).unwrap();
    assert_eq!(sorted(&without_comments(&written)), sorted(&expected));
    for copy in &TYPES[1..] {
        assert_eq!(std::fs::read_to_string(root().join(copy)).unwrap(), written, "{copy}");
    }
}

/// The modules of a file in the order of their names; of each, the lines that matter.
fn sorted(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut modules: Vec<_> = text.split("declare module").map(str::to_owned).collect();
    modules.sort();
    modules.iter_mut().for_each(|module| module.truncate(module.trim_end().len()));
    modules
}

fn without_comments(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/**") {
        plain += before;
        rest = after.split_once("*/").unwrap().1;
    }
    let plain = plain + rest;
    plain.lines().filter(|line| !line.starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// What a module of this interface declares.
fn module(resolve: &Resolve, interface: &Interface) -> String {
    let types: Vec<_> = interface.types.values().map(|id| &resolve.types[*id]).collect();
    let used: Vec<_> =
        types.iter().filter(|it| is_used(it)).map(|it| camel(name(it), true)).collect();
    let mut text = String::new();
    // A failure is thrown, and so it is in no signature.
    let imported: Vec<_> = used.into_iter().filter(|name| name != "Failure").collect();
    if !imported.is_empty() {
        let (names, from) = (imported.join(", "), "pelton:events/types@0.1.0");
        writeln!(text, "  import type {{ {names} }} from \"{from}\";").unwrap();
    }
    for declared in types.iter().filter(|it| !is_used(it)) {
        text += &declaration(resolve, declared);
    }
    for function in interface.functions.values() {
        // What a handler exports may be `async`.
        text += &signature(resolve, function, interface.name.as_deref() == Some("handler"));
    }
    text
}

fn is_used(declared: &TypeDef) -> bool {
    matches!(declared.kind, TypeDefKind::Type(_))
}

fn name(declared: &TypeDef) -> &str {
    declared.name.as_deref().unwrap()
}

fn declaration(resolve: &Resolve, declared: &TypeDef) -> String {
    let name = camel(name(declared), true);
    match &declared.kind {
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter().map(|it| field(resolve, &it.name, &it.ty));
            interface(&name, &fields.collect::<String>())
        }
        TypeDefKind::Variant(variant) => {
            let cases: Vec<_> = variant
                .cases
                .iter()
                .map(|case| (format!("{name}{}", camel(&case.name, true)), case))
                .collect();
            let names: Vec<_> = cases.iter().map(|(name, _)| name.as_str()).collect();
            let mut text = format!("  export type {name} = {};\n", names.join(" | "));
            for (name, case) in &cases {
                let value = field(resolve, "val", &case.ty.unwrap());
                text += &interface(name, &format!("    tag: \"{}\";\n{value}", case.name));
            }
            text
        }
        TypeDefKind::Enum(words) => {
            let words: Vec<_> = words.cases.iter().map(|it| format!("\"{}\"", it.name)).collect();
            format!("  export type {name} = {};\n", words.join(" | "))
        }
        other => panic!("{name}: the test knows no {}", other.as_str()),
    }
}

fn interface(name: &str, fields: &str) -> String {
    format!("  export interface {name} {{\n{fields}  }}\n")
}

fn field(resolve: &Resolve, name: &str, kind: &Type) -> String {
    let name = camel(name, false);
    match optional(resolve, kind) {
        Some(inner) => format!("    {name}?: {};\n", typed(resolve, &inner)),
        None => format!("    {name}: {};\n", typed(resolve, kind)),
    }
}

fn signature(resolve: &Resolve, function: &Function, awaited: bool) -> String {
    let parameters: Vec<_> = function
        .params
        .iter()
        .map(|it| format!("{}: {}", camel(&it.name, false), typed(resolve, &it.ty)))
        .collect();
    let mut result = function.result.map_or("void".to_owned(), |kind| typed(resolve, &kind));
    if awaited {
        result += &format!(" | Promise<{result}>");
    }
    format!("  export function {}({}): {result};\n", function.name, parameters.join(", "))
}

fn optional(resolve: &Resolve, kind: &Type) -> Option<Type> {
    let Type::Id(id) = kind else { return None };
    match resolve.types[*id].kind {
        TypeDefKind::Option(inner) => Some(inner),
        _ => None,
    }
}

fn typed(resolve: &Resolve, kind: &Type) -> String {
    match kind {
        Type::String => "string".to_owned(),
        Type::U32 => "number".to_owned(),
        Type::U64 => "bigint".to_owned(),
        Type::Id(id) => composed(resolve, &resolve.types[*id]),
        other => panic!("the test knows no {other:?}"),
    }
}

fn composed(resolve: &Resolve, declared: &TypeDef) -> String {
    match &declared.kind {
        TypeDefKind::List(Type::U8) => "Uint8Array".to_owned(),
        TypeDefKind::List(inner) => format!("Array<{}>", typed(resolve, inner)),
        TypeDefKind::Option(inner) => format!("{} | undefined", typed(resolve, inner)),
        // The error is thrown.
        TypeDefKind::Result(result) => typed(resolve, &result.ok.unwrap()),
        TypeDefKind::Tuple(tuple) => {
            let parts: Vec<_> = tuple.types.iter().map(|kind| typed(resolve, kind)).collect();
            format!("[{}]", parts.join(", "))
        }
        _ => camel(name(declared), true),
    }
}

/// `retry-after` as `RetryAfter` or `retryAfter`.
fn camel(name: &str, upper: bool) -> String {
    let words = name.split('-').enumerate().map(|(at, word)| match word.split_at(1) {
        (first, rest) if upper || at > 0 => first.to_uppercase() + rest,
        _ => word.to_owned(),
    });
    words.collect()
}
