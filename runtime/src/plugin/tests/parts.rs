//! Components of interpreted languages: the interpreter is compiled once for all.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use wasmparser::{Validator, WasmFeatures};

use super::{Bench, component, event, guests};
use crate::plugin::{
    CompilationListener, Engine, EngineConfig, Handler as _, Plugin, parts::Parts,
};

/// A component of [`guests::interpreter`] whose program is `program`.
static INTERPRETER: LazyLock<Vec<u8>> =
    LazyLock::new(|| component(&guests::interpreter("program?", 20)));

/// What a save makes: another program in the same component.
fn saved(program: &[u8; 8]) -> Vec<u8> {
    let mut bytes = INTERPRETER.clone();
    let at = bytes.windows(8).position(|bytes| bytes == b"program?").expect("a program");
    bytes[at..at + 8].copy_from_slice(program);
    bytes
}

/// A bench that counts what is said to be compiled.
struct Counted {
    bench: Bench,
    compilations: Arc<AtomicUsize>,
}

impl Counted {
    fn new() -> Counted {
        let mut counted = Counted { bench: Bench::new(), compilations: Arc::default() };
        counted.start_again();
        counted
    }

    /// An engine that knows nothing but what is in the cache.
    fn start_again(&mut self) {
        let count = Arc::clone(&self.compilations);
        let compilations = CompilationListener::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let cache = Some(self.cache());
        let config = EngineConfig { max_instances: 8, cache, compilations, ..Default::default() };
        self.bench.engine = Engine::new(&config).expect("an engine");
    }

    fn cache(&self) -> PathBuf {
        self.bench.folder.path().join("cache")
    }

    /// The largest file in the cache: the interpreter.
    fn interpreter(&self) -> PathBuf {
        let files = fs::read_dir(self.cache()).expect("a folder");
        let files = files.map(|entry| entry.expect("an entry").path());
        let size = |path: &PathBuf| fs::metadata(path).expect("a file").len();
        files.max_by_key(size).expect("a file")
    }

    fn said(&self) -> usize {
        self.compilations.load(Ordering::Relaxed)
    }

    async fn load(&self, program: &[u8; 8]) -> Plugin {
        self.bench.write(&saved(program));
        self.bench.load().await.expect("a good component")
    }
}

async fn answer(plugin: &Plugin) -> Vec<u8> {
    let outputs = plugin.handle(&event("x")).await.expect("an answer");
    outputs[0].payload.to_vec()
}

#[tokio::test]
async fn the_second_program_finds_its_interpreter_compiled() {
    let counted = Counted::new();
    let first = counted.load(b"program1").await;
    assert_eq!((counted.said(), answer(&first).await), (1, b"program1".to_vec()));

    let second = counted.load(b"program2").await;
    assert_eq!((counted.said(), answer(&second).await), (1, b"program2".to_vec()));
    // Each instance has a memory of its own.
    assert_eq!(answer(&first).await, b"program1");
    drop(first);
    assert_eq!(answer(&second).await, b"program2");
}

#[tokio::test]
async fn the_next_start_finds_it_in_the_cache() {
    let mut counted = Counted::new();
    counted.load(b"program1").await;
    counted.start_again();
    assert_eq!(answer(&counted.load(b"program2").await).await, b"program2");
    assert_eq!(counted.said(), 1);
}

#[tokio::test]
async fn an_interpreter_that_is_gone_or_damaged_is_compiled_again() {
    let mut counted = Counted::new();
    counted.load(b"program1").await;
    fs::remove_file(counted.interpreter()).expect("our file");
    counted.start_again();
    assert_eq!(answer(&counted.load(b"program1").await).await, b"program1");
    assert_eq!(counted.said(), 2);

    fs::write(counted.interpreter(), "damaged").expect("our file");
    counted.start_again();
    assert_eq!(answer(&counted.load(b"program1").await).await, b"program1");
    assert_eq!(counted.said(), 3);
}

#[tokio::test]
async fn memory_beside_the_code_is_limited_too() {
    let mut bench = Bench::new();
    bench.spec.memory = 1 << 20;
    bench.write(&saved(b"program1"));
    let error = bench.load().await.map(drop).expect_err("20 pages are more than a MiB");
    assert!(error.to_string().contains("memory"), "{error}");
}

#[test]
fn parts_are_sound_and_the_code_is_the_same_for_all_programs() {
    let parts = |bytes: &[u8]| Parts::of(bytes).expect("large enough");
    let first = parts(&saved(b"program1"));
    let second = parts(&saved(b"program2"));
    assert_ne!(first.component, second.component);
    assert_eq!(first.modules[0].name, second.modules[0].name);
    for bytes in [&first.component, &first.modules[0].module] {
        Validator::new_with_features(WasmFeatures::default()).validate_all(bytes).expect("sound");
    }
    // The heap has grown a little, and much.
    let grown = |pages| component(&guests::interpreter("program?", pages));
    assert_eq!(first.modules[0].name, parts(&grown(31)).modules[0].name);
    assert_ne!(first.modules[0].name, parts(&grown(32)).modules[0].name);
}

#[test]
fn what_is_small_or_made_in_another_way_stays_whole() {
    assert!(Parts::of(&component(&guests::counter())).is_none());
    // Data that the code itself brings into memory belongs to the code.
    let passive =
        guests::interpreter("program?", 20).replace("(data (i32.const 2000)", "(data $it");
    assert!(Parts::of(&component(&passive)).is_none());
    assert!(Parts::of(b"\0asm").is_none());
}

#[tokio::test]
async fn a_component_that_is_damaged_is_refused_as_a_whole() {
    let counted = Counted::new();
    let mut bytes = saved(b"program1");
    // In the middle of the code: an instruction that there is not.
    let middle = bytes.len() / 2;
    bytes[middle] = 0xff;
    counted.bench.write(&bytes);
    let error = counted.bench.load().await.map(drop).expect_err("no such instruction");
    assert!(error.to_string().contains(&format!("at byte {middle}:")), "{error}");
    assert_eq!(counted.said(), 1);
}

/// A component in text with a library that is compiled by itself, and these parts.
fn with_library(before: &str, after: &str) -> Vec<u8> {
    let library = format!("(core module $library (func {}))", "nop ".repeat(70_000));
    wat::parse_str(format!("(component {before} {library} {after})")).expect("good text")
}

#[test]
fn components_within_find_the_modules_of_the_outer_one() {
    let before = "(core module $small) (core instance (instantiate $small))";
    let after = "(core instance (instantiate $library))
        (component (alias outer 1 $library (core module $outer))
            (core module $inner) (core instance (instantiate $inner))
            (core instance (instantiate $outer)))";
    let parts = Parts::of(&with_library(before, after)).expect("large enough");
    Validator::new_with_features(WasmFeatures::default())
        .validate_all(&parts.component)
        .expect("sound");
}

#[test]
fn a_component_that_has_modules_from_elsewhere_stays_whole() {
    assert!(Parts::of(&with_library("", "")).is_some());
    assert!(Parts::of(&with_library(r#"(import "other" (core module))"#, "")).is_none());
    let instance = r#"(import "other" (instance $other (export "it" (core module))))"#;
    let alias = r#"(alias export $other "it" (core module))"#;
    assert!(Parts::of(&with_library(instance, alias)).is_none());
}
