use super::*;

fn project(folder: &Path, name: &str, language: Language, template: &str) -> Project {
    let template = find(template).unwrap();
    Project { name: name.to_owned(), language, template, folder: folder.join(name) }
}

#[test]
fn every_template_of_every_language_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    for (key, language) in Language::ALL {
        for template in ALL {
            let name = format!("{key}-{}", template.name);
            let project = project(folder.path(), &name, language, template.name);
            project.make(&CancellationToken::new()).unwrap();
            let is_own_world = project.folder.join("wit/world.wit").exists();
            let files = [
                "pelton.toml",
                "README.md",
                ".gitignore",
                if is_own_world { "wit/deps/events.wit" } else { "wit/events.wit" },
                project.handler(),
                &format!("{name}.test.toml"),
            ];
            for file in files {
                let text = fs::read_to_string(project.folder.join(file));
                let text = text.unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
                assert!(
                    !text.contains("{{") || file == project.handler(),
                    "{name}: {file}:\n{text}"
                );
            }
            assert_eq!(Language::of(&project.folder), Some(language), "{name}");
            let readme = fs::read_to_string(project.folder.join("README.md")).unwrap();
            assert!(readme.contains(&project.sample()), "{name}: {readme}");
            for source in sources(&project) {
                assert!(readme.contains(&format!("`{source}`")), "{name}: {source} in {readme}");
            }
        }
    }
}

/// What the template brings in the handler's language, and headers of C.
fn sources(project: &Project) -> Vec<String> {
    let (language, template) = (project.language.key(), project.template.name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let root = root.join(language).join(template);
    let ending = Path::new(project.handler()).extension();
    let files = walkdir::WalkDir::new(&root).into_iter().map(|entry| entry.unwrap().into_path());
    let sources = files.filter(|file| {
        let is = file.extension();
        is == ending || is.is_some_and(|is| is == "h")
    });
    let sources = sources.map(|file| file.strip_prefix(&root).unwrap().display().to_string());
    let sources = sources.collect::<Vec<_>>();
    assert!(sources.iter().any(|it| it == project.handler()), "{language}: {sources:?}");
    sources
}

#[test]
fn names_that_would_not_build_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, language) in [
        ("", Language::C),
        ("Hello", Language::C),
        ("a b", Language::Python),
        ("../x", Language::C),
        ("9lives", Language::C),
        ("a-", Language::C),
        ("-a", Language::C),
        ("fn", Language::Rust),
        ("test", Language::Rust),
        ("serde-json", Language::Rust),
        ("encoding", Language::Go),
        ("unsafe", Language::Go),
        ("vendor", Language::Go),
        ("work", Language::Go),
        (&*"a".repeat(41), Language::C),
    ] {
        let error = project(folder.path(), name, language, "transform")
            .make(&CancellationToken::new())
            .unwrap_err();
        assert!(matches!(error, NewError::Name { .. }), "{name}: {error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_there_already_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "hello", Language::C, "transform");
    fs::create_dir(&project.folder).unwrap();
    project.make(&CancellationToken::new()).unwrap();
    fs::write(project.folder.join("handler.c"), "mine").unwrap();
    assert!(matches!(project.make(&CancellationToken::new()).unwrap_err(), NewError::Exists(_)));
    assert_eq!(fs::read_to_string(project.folder.join("handler.c")).unwrap(), "mine");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left over");
}

#[test]
fn a_file_in_the_way_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hello"), "a file").unwrap();
    let error = project(folder.path(), "hello", Language::C, "router")
        .make(&CancellationToken::new())
        .unwrap_err();
    assert!(error.to_string().contains("hello"), "{error}");
}

#[test]
fn an_empty_folder_stays_the_same_and_a_link_to_one_does() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path(), "hello", Language::C, "router");
    fs::create_dir(folder.path().join("target")).unwrap();
    std::os::unix::fs::symlink("target", &project.folder).unwrap();
    let number = || fs::metadata(&project.folder).unwrap().ino();
    let before = number();
    project.make(&CancellationToken::new()).unwrap();
    assert_eq!(number(), before);
    let mut names: Vec<_> = fs::read_dir(folder.path().join("target")).unwrap().collect();
    names.retain(|entry| entry.as_ref().unwrap().file_name() != ".gitignore");
    assert!(
        names.iter().flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
    );
    assert!(project.folder.join("wit/events.wit").exists());
}

#[test]
fn what_is_stopped_or_fails_leaves_nothing_not_even_folders_above() {
    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    let mut project = project(folder.path(), "hello", Language::C, "router");
    project.folder = folder.path().join("a/b/hello");
    assert!(matches!(project.make(&stop).unwrap_err(), NewError::Stopped));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    fs::create_dir(folder.path().join("empty")).unwrap();
    project.folder = folder.path().join("empty");
    assert!(matches!(project.make(&stop).unwrap_err(), NewError::Stopped));
    assert_eq!(fs::read_dir(&project.folder).unwrap().count(), 0);
    fs::write(folder.path().join("file"), "").unwrap();
    project.folder = folder.path().join("file/below/hello");
    let error = project.make(&CancellationToken::new()).unwrap_err().to_string();
    assert!(error.contains("file/below/hello") && error.contains("Not a directory"), "{error}");
}
