use super::*;
use crate::manifest::value::File;

/// A folder with these files.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    folder
}

/// The folder and the language of each plugin with sources; plugins are given
/// as name and component.
fn found(files: &[&str], plugins: &[(&str, &str)]) -> Vec<(String, String, Option<Language>)> {
    let folder = folder(files);
    let raw = plugins.iter().map(|(name, component)| {
        let component = Some(File(PathBuf::from(component)));
        (Name((*name).to_owned()), raw::Plugin { component, ..raw::Plugin::default() })
    });
    let builds = builds(folder.path(), Some(&raw.collect()));
    let shown = |path: &Path| path.strip_prefix(folder.path()).unwrap().display().to_string();
    builds.into_iter().map(|(name, build)| (name, shown(&build.source), build.language)).collect()
}

fn one(name: &str, source: &str, language: Language) -> (String, String, Option<Language>) {
    (name.to_owned(), source.to_owned(), Some(language))
}

#[test]
fn sources_are_beside_the_manifest_named_like_component_or_plugin() {
    assert_eq!(
        found(&["price/go.mod", "other/app.py"], &[("a", "build/price.wasm"), ("other", "x.wasm")]),
        [one("a", "price", Language::Go), one("other", "other", Language::Python)]
    );
    assert_eq!(
        found(&["my-price/Cargo.toml"], &[("a", "target/release/my_price.wasm")]),
        [one("a", "my-price", Language::Rust)]
    );
}

#[test]
fn sources_may_be_around_the_component() {
    assert_eq!(
        found(&["src/handlers/p/handler.c"], &[("a", "src/handlers/p/out/a.wasm")]),
        [one("a", "src/handlers/p", Language::C)]
    );
}

#[test]
fn the_manifests_own_folder_is_for_one_plugin() {
    let files = ["app.py", "requirements.txt"];
    assert_eq!(found(&files, &[("a", "a.wasm")]), [one("a", "", Language::Python)]);
    assert_eq!(found(&files, &[("a", "a.wasm"), ("b", "b.wasm")]), []);
    let shared = [("a", "same.wasm"), ("b", "same.wasm")];
    assert_eq!(found(&files, &shared).len(), 2);
    assert_eq!(found(&["Cargo.toml"], &[("a", "a.wasm"), ("b", "b.wasm")]).len(), 2);
}

#[test]
fn a_service_beside_the_manifest_is_no_handler() {
    assert_eq!(found(&["package.json", "server.js"], &[("router", "router.wasm")]), []);
    assert_eq!(found(&["go.mod", "main.go"], &[("router", "router.wasm")]), []);
    assert_eq!(found(&["main.c"], &[("router", "router.wasm")]), []);
    assert_eq!(found(&["manage.py", "pyproject.toml"], &[("router", "router.wasm")]), []);
    assert_eq!(
        found(&["package.json", "handler.js"], &[("a", "a.wasm")]),
        [one("a", "", Language::JavaScript)]
    );
}

#[test]
fn components_from_elsewhere_have_no_sources_here() {
    assert_eq!(found(&["README.md"], &[("a", "a.wasm")]), []);
    assert_eq!(found(&["README.md"], &[("a", "../x/a.wasm"), ("b", "/opt/b.wasm")]), []);
}

#[test]
fn typescript_is_told_from_javascript() {
    let folder = folder(&["package.json", "handler.js"]);
    assert_eq!(Language::of(folder.path()), Some(Language::JavaScript));
    fs::write(folder.path().join("tsconfig.json"), "{}").unwrap();
    assert_eq!(Language::of(folder.path()), Some(Language::TypeScript));
}

#[test]
fn what_the_table_says_counts_more_than_the_rule() {
    let folder = folder(&["price/go.mod", "else/app.py"]);
    let build = raw::Build {
        language: Some(Language::C),
        source: Some(File("else".into())),
        command: Some(Command::Shell("make".to_owned())),
        watch: Some(vec!["*.x".to_owned()]),
    };
    let component = Some(File(PathBuf::from("price.wasm")));
    let plugin = raw::Plugin { component, build: Some(build), ..raw::Plugin::default() };
    let builds = builds(folder.path(), Some(&BTreeMap::from([(Name("a".to_owned()), plugin)])));
    assert_eq!(
        builds["a"],
        Build {
            source: folder.path().join("else"),
            language: Some(Language::C),
            command: Some(Command::Shell("make".to_owned())),
            watch: vec!["*.x".to_owned()],
        }
    );
}
