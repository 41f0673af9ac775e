//! Which known word a user probably meant.

/// The word among `known` that is closest to `word`, if it is close.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let wanted = folded(word);
    known
        .map(|candidate| (strsim::osa_distance(&wanted, &folded(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= tolerance(&wanted, candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether `name` looks like a slip of the pen for `known`, rather than another
/// name: names that differ in digits only are usually meant to.
pub fn is_slip(name: &str, known: &str) -> bool {
    let letters = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    if name.eq_ignore_ascii_case(known) {
        return name != known;
    }
    name.len() > 3 && letters(name) != letters(known) && strsim::osa_distance(name, known) == 1
}

/// `maxInFlight` and `max_in_flight` are as good as `max-in-flight`.
fn folded(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_lowercase()
}

fn tolerance(wanted: &str, candidate: &str) -> usize {
    // One slip in three characters; `start` and `stack` are two words.
    let shorter = wanted.chars().count().min(folded(candidate).len());
    (shorter / 3).clamp(usize::from(shorter > 1), 3)
}
