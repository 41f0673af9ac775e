//! Compiled components on disk: used when sound, compiled anew when not.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
};

use super::{Bench, event, guests};
use crate::plugin::{Engine, EngineConfig, Handler as _};

impl Bench {
    /// The only file in the cache.
    fn cached(&self) -> PathBuf {
        let folder = fs::read_dir(self.folder.path().join("cache")).expect("a folder");
        let files: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    /// Loads the component once more; whether the file was written anew.
    async fn recompiled(&self) -> bool {
        // A second name keeps the number of the first file from being given out again.
        let (path, kept) = (self.cached(), self.folder.path().join("kept"));
        fs::hard_link(&path, &kept).expect("a second name");
        let plugin = self.load().await.expect("a good component");
        plugin.handle(&event("x")).await.expect("an answer");
        let inode = |path| fs::metadata(path).expect("a file").ino();
        let anew = inode(&path) != inode(&kept);
        fs::remove_file(kept).expect("the second name");
        anew
    }
}

async fn filled() -> Bench {
    let bench = Bench::new();
    bench.plugin(&guests::echo()).await;
    bench
}

#[tokio::test]
async fn a_component_is_compiled_once() {
    let bench = filled().await;
    assert!(!bench.recompiled().await);
}

#[tokio::test]
async fn folder_and_files_are_for_their_owner_alone() {
    let bench = filled().await;
    let mode = |path| fs::metadata(path).expect("it is there").mode() & 0o777;
    assert_eq!(mode(bench.folder.path().join("cache")), 0o700);
    assert_eq!(mode(bench.cached()), 0o600);
}

#[tokio::test]
async fn a_damaged_file_is_replaced() {
    let bench = filled().await;
    let good = fs::read(bench.cached()).expect("a file");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for bad in [&flipped[..], &good[..good.len() - 1], &good[..10], &[]] {
        fs::write(bench.cached(), bad).expect("the file can be written to");
        assert!(bench.recompiled().await);
        assert!(!bench.recompiled().await);
    }
}

#[tokio::test]
async fn a_file_that_others_can_write_to_is_replaced() {
    let bench = filled().await;
    fs::set_permissions(bench.cached(), Permissions::from_mode(0o620)).expect("our file");
    assert!(bench.recompiled().await);
}

#[test]
fn a_folder_that_others_can_see_is_not_used() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = |mode| {
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).expect("our folder");
        let cache = Some(folder.path().to_owned());
        Engine::new(&EngineConfig { max_instances: 1, cache, ..EngineConfig::default() })
            .expect("an engine")
    };
    assert!(engine(0o755).shared.cache.is_none());
    assert!(engine(0o700).shared.cache.is_some());
}

#[tokio::test]
async fn functions_that_stay_the_same_are_not_compiled_again() {
    let mut bench = Bench::new();
    let cache = Some(bench.folder.path().join("cache"));
    let config = EngineConfig { incremental: true, cache, ..EngineConfig::default() };
    bench.engine = Engine::new(&config).expect("an engine");
    let functions = bench.engine.shared.functions.clone().expect("they are kept");
    // As a save does to an interpreter's component: other data, the same code.
    let wat = guests::counter();
    let end = wat.rfind(')').expect("a module");
    let saved = |text| format!("{} (data (i32.const 2000) \"{text}\"))", &wat[..end]);
    bench.plugin(&saved("first")).await;
    let (_, compiled) = functions.counts();
    assert!(compiled > 0, "nothing was asked for");

    let plugin = bench.plugin(&saved("other")).await;
    let (found, compiled_then) = functions.counts();
    let anew = compiled_then - compiled;
    // What writes the data into the memory is a function, too.
    assert!(found > anew, "{found} found, {anew} of {compiled} compiled anew");
    assert!(plugin.handle(&event("x")).await.is_ok());
}

#[tokio::test]
async fn without_a_folder_everything_works() {
    let mut bench = Bench::new();
    let file = bench.folder.path().join("file");
    fs::write(&file, "in the way").expect("the folder can be written to");
    let cache = Some(file.join("cache"));
    bench.engine =
        Engine::new(&EngineConfig { cache, ..EngineConfig::default() }).expect("an engine");
    let plugin = bench.plugin(&guests::echo()).await;
    assert!(plugin.handle(&event("x")).await.is_ok());
}
