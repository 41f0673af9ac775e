//! What people are shown: `tests/manifest/*.toml`, each beside the text that
//! its mistakes have to produce. `PELTON_UPDATE=1` writes the texts anew.

use super::*;

/// Checks the manifest as a user would have it, with the folder's files beside it.
fn diagnosis(file: &Path) -> String {
    // A short relative path: how lines are broken must not depend on where the
    // sources are. Tests run in the package's folder.
    let surroundings = Surroundings {
        base: Path::new("../tests/manifest"),
        environment: &environment(),
        check_component: &check_component,
        needs_components: true,
    };
    let name = file.file_name().unwrap().to_string_lossy();
    match Manifest::parse(&fs::read(file).unwrap(), &name, &surroundings) {
        Ok(_) => "no problems\n".to_owned(),
        Err(problems) => problems.render(Look::Plain),
    }
}

fn manifests() -> Vec<PathBuf> {
    let entries = fs::read_dir(base()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    files.sort();
    files
}

#[test]
fn every_mistake_is_explained_as_agreed() {
    let update = std::env::var_os("PELTON_UPDATE").is_some();
    let mut differing = Vec::new();
    for file in manifests() {
        let (expected, found) = (file.with_extension("txt"), diagnosis(&file));
        if update {
            fs::write(&expected, &found).unwrap();
        }
        if fs::read_to_string(&expected).ok().as_ref() != Some(&found) {
            differing.push(format!("{}:\n{found}", expected.display()));
        }
    }
    assert!(differing.is_empty(), "not as agreed:\n{}", differing.join("\n"));
}

#[test]
fn every_mistake_has_a_remedy_and_shows_no_secret() {
    let manifests = manifests();
    assert!(manifests.len() >= 35, "{} manifests", manifests.len());
    for file in manifests {
        let text = diagnosis(&file);
        assert_ne!(text, "no problems\n", "{}", file.display());
        assert!(!text.contains("hunter"), "a secret is shown:\n{text}");
        let problems = text.lines().filter(|line| line.starts_with("  x ")).count();
        assert_eq!(text.matches("  help: ").count(), problems, "no remedy:\n{text}");
    }
}

#[test]
fn no_expected_text_is_left_over() {
    for entry in fs::read_dir(base()).unwrap() {
        let path = entry.unwrap().path();
        let is_text = path.extension().is_some_and(|ext| ext == "txt");
        assert!(!is_text || path.with_extension("toml").exists(), "{}", path.display());
    }
}

#[test]
fn a_manifest_that_is_not_there_says_how_to_name_one() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("x.toml")] {
        let problems = Manifest::load(&path, &environment(), check_component).unwrap_err();
        let text = problems.render(Look::Plain);
        assert!(text.contains("there is no manifest at"), "{text}");
        assert!(text.contains("path/to/manifest.toml"), "{text}");
    }
}

#[test]
fn a_manifest_that_is_too_large_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pelton.toml");
    fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
    let problems = Manifest::load(&file, &environment(), check_component).unwrap_err();
    assert!(problems.render(Look::Plain).contains("larger than 1 MiB"));

    fs::write(&file, vec![b'#'; 1 << 20]).unwrap();
    let problems = Manifest::load(&file, &environment(), check_component).unwrap_err();
    assert_eq!(problems.iter().map(Problem::kind).collect::<Vec<_>>(), ["no-plugins"]);
}

#[cfg(unix)]
#[test]
fn a_manifest_that_never_ends_is_not_read() {
    let path = Path::new("/dev/zero");
    let problems = Manifest::load(path, &environment(), check_component).unwrap_err();
    assert!(problems.render(Look::Plain).contains("is not a file"));
}

#[test]
fn a_problem_found_later_points_into_the_manifest() {
    let text = "[streams.ORDERS]\nsubjects = [\"orders.>\"]\n";
    let manifest = parse(&format!("{text}{MINIMAL}"));
    let wrong = manifest.problem(
        "stream-differs",
        "streams.ORDERS.replicas",
        "the server has 3",
        "set it to 3",
    );
    let more = manifest.problem(
        "stream-differs",
        "streams.ORDERS.subjects",
        "the server has `o.>`",
        "rename it",
    );

    let text = Problems::new(&manifest, vec![more, wrong]).render(Look::Plain);

    assert!(text.contains("[pelton.toml:1:10]"), "{text}");
    assert!(text.contains("`replicas` is not set, the default holds"), "{text}");
    assert!(text.contains("[pelton.toml:2:12]"), "{text}");
    assert!(text.find("has 3").unwrap() < text.find("has `o.>`").unwrap(), "{text}");
}

#[test]
fn only_so_many_problems_are_printed() {
    let unknown: String = (0..150).map(|i| format!("x{i} = 1\n")).collect();
    let problems = parse_bytes(format!("{unknown}{MINIMAL}").as_bytes()).unwrap_err();
    assert_eq!(problems.count(), 150);
    let text = problems.render(Look::Plain);
    assert_eq!(text.matches("unknown-key").count(), 100);
    assert!(text.ends_with("pelton.toml: 150 problems, of which 50 are not shown\n"), "{text}");
}

#[test]
fn a_terminal_may_have_colours() {
    let problems = parse_bytes(b"x = 1").unwrap_err();
    let look = |colour| problems.render(Look::Terminal { width: 60, colour });
    assert!(look(true).contains('\u{1b}'));
    assert!(!look(false).contains('\u{1b}'));
}
