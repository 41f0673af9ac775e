//! Files that are no plugins, and what is said about those that are.

use std::fs;

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{Bench, component, event, guests};
use crate::plugin::{
    Access, CallError, ComponentizeError, Handler as _, LoadError, MemorySize, check_component,
    componentize, inspect,
};

/// What `load` and `check_component` say about a file with these bytes.
async fn refused(bytes: &[u8]) -> LoadError {
    let bench = Bench::new();
    bench.write(bytes);
    let error = bench.load().await.err().expect("no good component");
    let refused = check_component(bench.path()).unwrap_err();
    assert_eq!((refused.code, refused.reason), (error.code(), error.to_string()));
    error
}

/// A component in text without a core module.
fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("good text")
}

#[tokio::test]
async fn a_missing_file_a_folder_and_nothing() {
    let bench = Bench::new();
    assert!(matches!(bench.load().await, Err(LoadError::Missing { .. })));
    fs::create_dir(bench.path()).expect("a folder");
    assert!(matches!(bench.load().await, Err(LoadError::NotAFile { .. })));
    assert!(matches!(refused(b"").await, LoadError::Empty { .. }));
}

#[tokio::test]
async fn what_is_not_wasm_is_named() {
    let kinds: [(&[u8], &str); 6] = [
        (b"\x7fELF\x02\x01", "ELF"),
        (b"PK\x03\x04....", "zip"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"hello", "text"),
        (b"MZ\x90", "Windows"),
        (b"\xff\xfe\x00\x01", "unknown"),
    ];
    for (bytes, word) in kinds {
        let LoadError::NotWasm { looks, .. } = refused(bytes).await else {
            panic!("{word} taken for Wasm");
        };
        assert!(looks.contains(word), "{looks}");
    }
}

#[tokio::test]
async fn text_and_core_modules_have_a_remedy() {
    let error = refused(b";; a comment\n (component)").await;
    assert!(matches!(error, LoadError::Text { .. }), "{error}");
    let error = refused(&text("(module)")).await;
    assert!(matches!(error, LoadError::CoreModule { .. }), "{error}");
    assert!(error.to_string().contains("pelton componentize"), "{error}");
}

#[tokio::test]
async fn a_cut_off_component_is_told_where() {
    let whole = component(&guests::echo());
    for length in [9, whole.len() / 2, whole.len() - 1] {
        let error = refused(&whole[..length]).await;
        let LoadError::Invalid { offset, .. } = error else {
            panic!("{error}");
        };
        assert!((8..=length).contains(&offset), "{offset} of {length}");
    }
}

#[tokio::test]
async fn a_component_with_a_bad_instruction_is_invalid() {
    let mut bytes =
        component(&guests::module("", "(func $odd (result i64) (i64.const 0x0123456789))", ""));
    let constant = [0x42, 0x89, 0xcf, 0x95, 0x9a, 0x12];
    let at =
        bytes.windows(constant.len()).position(|window| window == constant).expect("the constant");
    // The same number of bytes, but of another type: i32.const, nop.
    bytes[at..at + constant.len()].copy_from_slice(&[0x41, 0, 1, 1, 1, 1]);
    let error = refused(&bytes).await;
    assert!(matches!(error, LoadError::Invalid { offset, .. } if offset >= at), "{error}");
}

#[tokio::test]
async fn components_for_other_worlds_are_told_apart() {
    let error = refused(&text("(component)")).await;
    assert!(error.to_string().contains("it exports nothing"), "{error}");
    let error =
        refused(&text(r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#))
            .await;
    assert!(
        matches!(&error, LoadError::NoHandler { exports, .. } if exports == &["wasi:cli/run@0.2.0"]),
        "{error}"
    );
    let error = refused(&text(
        r#"(component (instance $i) (export "pelton:events/handler@0.9.0" (instance $i)))"#,
    ))
    .await;
    assert!(
        matches!(&error, LoadError::OtherVersion { found, .. } if found == "pelton:events/handler@0.9.0"),
        "{error}"
    );
}

#[tokio::test]
async fn imports_that_are_not_served_are_listed() {
    let error = refused(&text(
        r#"(component
            (import "wasi:clocks/wall-clock@0.2.0" (instance))
            (import "wasi:keyvalue/store@0.2.0" (instance))
            (import "wasi:http/types@0.3.0" (instance))
            (instance $i) (export "pelton:events/handler@0.1.0" (instance $i)))"#,
    ))
    .await;
    let LoadError::Imports { imports, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(imports, &["wasi:keyvalue/store@0.2.0", "wasi:http/types@0.3.0"]);
}

#[tokio::test]
async fn a_handler_of_the_wrong_shape_is_found_at_load() {
    let bench = Bench::new();
    bench.write(&text(
        r#"(component
            (core module $m (func (export "handle")))
            (core instance $c (instantiate $m))
            (func $handle (canon lift (core func $c "handle")))
            (instance $i (export "handle" (func $handle)))
            (export "pelton:events/handler@0.1.0" (instance $i)))"#,
    ));
    let error = bench.load().await.err().expect("no good handler");
    assert!(matches!(error, LoadError::Start { .. } | LoadError::Compile { .. }), "{error}");
}

/// A component that says itself which world it is for: ours with an interface more.
fn with_http(wat: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let packages = [
        include_str!("../../../../wit/events.wit"),
        "package wasi:http@0.2.0; interface types { send: func(); }",
        "package test:http; world http { import wasi:http/types@0.2.0; include pelton:events/plugin@0.1.0; }",
    ];
    let packages = packages.map(|wit| resolve.push_str("test.wit", wit).expect("good WIT"));
    let world = resolve.select_world(&packages[2..], None).expect("one world");
    let mut module = text(wat);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("a section");
    componentize(&module).expect("a good module")
}

#[tokio::test]
async fn http_can_be_imported_but_not_used() {
    let bench = Bench::new();
    let import = r#"(import "wasi:http/types@0.2.0" "send" (func $send))"#;
    bench.write(&with_http(&guests::module(import, "", "(call $send)")));
    let plugin = bench.load().await.expect("wasi:http may be imported");
    let Err(CallError::Trap { reason, .. }) = plugin.handle(&event("x")).await else {
        panic!("not a trap");
    };
    assert!(reason.contains("wasi:http/types@0.2.0#send"), "{reason}");
    assert_eq!(check_component(bench.path()), Ok(()));
}

#[test]
fn inspect_says_what_a_component_is() {
    let bench = Bench::new();
    bench.write(&component(&guests::logging(1)));
    let about = inspect(bench.path()).expect("a good component");
    assert_eq!(about.contract.as_deref(), Some("pelton:events@0.1.0"));
    assert_eq!(about.exports, ["pelton:events/handler@0.1.0"]);
    let mut imports: Vec<_> =
        about.imports.iter().map(|import| (import.name.as_str(), import.access)).collect();
    imports.sort_unstable_by_key(|import| import.0);
    let served = ["pelton:events/log@0.1.0", "pelton:events/types@0.1.0"];
    assert_eq!(imports, served.map(|name| (name, Access::Served)));
    assert!(about.world.contains("export pelton:events/handler@0.1.0;"), "{}", about.world);
    assert_eq!(about.size, fs::metadata(bench.path()).expect("a file").len());
    assert_eq!(about.memories, [MemorySize { initial: 2 << 16, maximum: None }]);
    assert!(
        about.producers.iter().any(|producer| producer.name == "wit-component"),
        "{:?}",
        about.producers
    );
}

#[test]
fn inspect_takes_any_component() {
    let bench = Bench::new();
    bench.write(&text(
        r#"(component (import "wasi:sockets/tcp@0.2.3" (instance)) (import "other" (instance)))"#,
    ));
    let about = inspect(bench.path()).expect("a good component");
    assert_eq!(about.contract, None);
    let access: Vec<_> = about.imports.iter().map(|import| import.access).collect();
    assert_eq!(access, [Access::Denied, Access::Unknown]);
}

#[test]
fn preview_1_is_translated() {
    let bench = Bench::new();
    bench.write(&component(&guests::printing("")));
    assert_eq!(check_component(bench.path()), Ok(()));
    let about = inspect(bench.path()).expect("a good component");
    assert!(about.imports.iter().any(|import| import.name.starts_with("wasi:cli/stderr@0.2.")));
}

#[test]
fn only_modules_that_fit_become_components() {
    let refused = |bytes: &[u8]| componentize(bytes).expect_err("no good module");
    assert!(matches!(refused(b"hello"), ComponentizeError::NotAModule(_)));
    assert!(matches!(refused(&component(&guests::echo())), ComponentizeError::AlreadyComponent));
    assert!(matches!(refused(&text("(module)")), ComponentizeError::World(_)));
}
