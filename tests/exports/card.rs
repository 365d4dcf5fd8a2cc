//! Emissions in the metadata of model cards, of which every other byte stays as it was.

use std::fs;
use std::path::Path;

use ergometer_report::quantity::CarbonIntensity;
use ergometer_report::site::Site;
use ergometer_sinks::export::{ModelCard, Stage};
use proptest::prelude::*;

use super::{estimated, france, history, measured};
use crate::made::ergometer;

#[test]
fn a_card_has_grams_with_two_digits_of_their_uncertainty_and_says_where_from() {
    let logs = tempfile::tempdir().unwrap();
    let card = ModelCard::of(&history(&measured(logs.path())), &france()).unwrap().to_string();
    // 1,500 J · 1.2 = 0.5 Wh; · 41.44 g/kWh = 0.02072 g.
    assert!(card.starts_with("---\nco2_eq_emissions:\n  emissions: 0.02072\n"), "{card}");
    assert!(card.ends_with("\n---\n"), "{card}");
    for said in [
        "energy counter: rapl",
        "; measured; ",
        "(k = 2, of the energy alone)",
        "41.44 g CO2e/kWh (France, Ember via Our World in Data, 2025, annual mean of production, location-based)",
        "PUE 1.2 (the provider's mean)",
        "  geographical_location: \"France\"\n",
    ] {
        assert!(card.contains(said), "{said}\n{card}");
    }
    let card = ModelCard::of(&history(&estimated(logs.path(), "m")), &france()).unwrap();
    let card = card.stage(Stage::FineTuning).to_string();
    assert!(card.contains("(model: cpu); estimated by a model, not measured; "), "{card}");
    assert!(card.contains("  training_type: \"fine-tuning\"\n"), "{card}");
}

/// What is put into a card, and its lines as they stand in one.
fn entry(logs: &Path) -> (ModelCard, Vec<String>) {
    let card = ModelCard::of(&history(&measured(logs)), &france()).unwrap();
    let lines =
        card.to_string().lines().filter(|line| line.starts_with("  ")).map(str::to_owned).collect();
    (card, lines)
}

#[test]
fn a_card_keeps_every_byte_but_those_of_the_entry() {
    let logs = tempfile::tempdir().unwrap();
    let (card, lines) = entry(logs.path());
    let of = |place: usize| lines[place].split_once(": ").unwrap().1.to_owned();
    let (emissions, source) = (of(0), of(1));
    // `@` stands for the lines of the entry, `%` and `$` for two of its values, and `¦` for the rest of it, `¶` where it is indented by four.
    let rest: String = lines[2..].iter().map(|line| format!("{line}\n")).collect();
    let deep: String = lines[2..].iter().map(|line| format!("  {line}\n")).collect();
    let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
    for (before, after) in [
        ("", "---\nco2_eq_emissions:\n@---\n"),
        ("# Title\n\ntext\n", "---\nco2_eq_emissions:\n@---\n# Title\n\ntext\n"),
        ("----\nrule\n", "---\nco2_eq_emissions:\n@---\n----\nrule\n"),
        ("\u{feff}text", "\u{feff}---\nco2_eq_emissions:\n@---\ntext"),
        ("---\n---\nbody", "---\nco2_eq_emissions:\n@---\nbody"),
        (
            "\n---\nlicense: mit # why\n\ntags:\n- a\n-   b\n---  \nbody\n---\nco2_eq_emissions: 1\n",
            "\n---\nlicense: mit # why\n\ntags:\n- a\n-   b\nco2_eq_emissions:\n@---  \nbody\n---\nco2_eq_emissions: 1\n",
        ),
        // What looks like the entry, and is not.
        (
            "---\na: \"x\n co2_eq_emissions: 1\"\nb: |\n  co2_eq_emissions: 2\n\n   more: ' [\nc: [1,\n  {co2_eq_emissions: 3}, 'x]',\n]\nd:\n  co2_eq_emissions: 4\ne: plain\n  'tis more\n#co2_eq_emissions: 5\n---\n",
            "---\na: \"x\n co2_eq_emissions: 1\"\nb: |\n  co2_eq_emissions: 2\n\n   more: ' [\nc: [1,\n  {co2_eq_emissions: 3}, 'x]',\n]\nd:\n  co2_eq_emissions: 4\ne: plain\n  'tis more\n#co2_eq_emissions: 5\nco2_eq_emissions:\n@---\n",
        ),
        (
            "# Title\n\n```yaml\n---\nco2_eq_emissions: 1\n---\n```\n",
            "---\nco2_eq_emissions:\n@---\n# Title\n\n```yaml\n---\nco2_eq_emissions: 1\n---\n```\n",
        ),
        (
            "---\nbase: &b {x: 1}\nmore:\n  <<: *b\n  co2_eq_emissions: 1 # theirs\n---\n~~~\n---\n~~~\n",
            "---\nbase: &b {x: 1}\nmore:\n  <<: *b\n  co2_eq_emissions: 1 # theirs\nco2_eq_emissions:\n@---\n~~~\n---\n~~~\n",
        ),
        // A second document is the card's text.
        ("---\na: 1\n---\nb: 2\n---\n", "---\na: 1\nco2_eq_emissions:\n@---\nb: 2\n---\n"),
        ("---\na: 1\n---", "---\na: 1\nco2_eq_emissions:\n@---"),
        ("\u{feff}---\na: 1\n---\n", "\u{feff}---\na: 1\nco2_eq_emissions:\n@---\n"),
        // The Hub takes the end of the last line from a block of lines, as long as it is the last.
        ("---\na: 1\nb: |\n  x\n---\n", "---\nco2_eq_emissions:\n@a: 1\nb: |\n  x\n---\n"),
        (
            "---\nco2_eq_emissions:\n  # g\n  emissions: 1\n  training_type: >\n    fine\n    tuning\n---\n",
            "---\nco2_eq_emissions:\n  # g\n  source: $\n¦  emissions: %\n  training_type: >\n    fine\n    tuning\n---\n",
        ),
        // The entry in its several styles.
        (
            "---\nco2_eq_emissions: 12.5   # old\nz: 1\n---\n",
            "---\nco2_eq_emissions:   # old\n@z: 1\n---\n",
        ),
        ("---\n\"co2_eq_emissions\": null\n---\n", "---\n\"co2_eq_emissions\":\n@---\n"),
        ("---\n'co2_eq_emissions' : {}\n---\n", "---\n'co2_eq_emissions' :\n@---\n"),
        (
            "---\nco2_eq_emissions:\n  {emissions: 3}\nz: 1\n---\n",
            "---\nco2_eq_emissions:\n  \n@z: 1\n---\n",
        ),
        (
            "---\nold: &o 1\nco2_eq_emissions: *o\n---\n",
            "---\nold: &o 1\nco2_eq_emissions:\n@---\n",
        ),
        (
            "---\nco2_eq_emissions:\n  <<: *b\n  emissions: 1\n  # theirs\n  scope: [2, 3] # and\n---\n",
            "---\nco2_eq_emissions:\n  <<: *b\n  emissions: %\n  # theirs\n  scope: [2, 3] # and\n  source: $\n¦---\n",
        ),
        (
            "---\nco2_eq_emissions:\n# next\nz: 1\n---\n",
            "---\nco2_eq_emissions:\n@# next\nz: 1\n---\n",
        ),
        (
            "---\nco2_eq_emissions: {emissions: 1, 'source': \"a, b\", training_type: \"x, y\"}\n---\n",
            "---\nco2_eq_emissions:\n@  training_type: \"x, y\"\n---\n",
        ),
        (
            "---\nco2_eq_emissions:\n    # whose\n    emissions: 1 # g\n    training_type: 'pre-training'\n    source: >-\n      two\n      lines\n\nz: 1\n---\n",
            "---\nco2_eq_emissions:\n    # whose\n    emissions: % # g\n    training_type: 'pre-training'\n    source: $\n¶\nz: 1\n---\n",
        ),
        (
            "---\na: 1\nco2_eq_emissions:\n  emissions:\n  source:\n    \"old\"\n---\n",
            "---\na: 1\nco2_eq_emissions:\n  emissions: %\n  source:\n    $\n¦---\n",
        ),
    ] {
        let after = after
            .replace('%', &emissions)
            .replace('$', &source)
            .replace('¦', &rest)
            .replace('¶', &deep)
            .replace('@', &whole);
        let path = Path::new("README.md");
        assert_eq!(card.written_into(before, path).unwrap().0, after, "{before}");
        let ends = |text: &str| text.replace('\n', "\r\n");
        if before.contains('\n') {
            assert_eq!(card.written_into(&ends(before), path).unwrap().0, ends(&after), "{before}");
        }
        // Once more changes nothing.
        assert_eq!(card.written_into(&after, path).unwrap().0, after);
    }
}

#[test]
fn a_place_of_another_run_goes_and_what_is_kept_is_told() {
    let logs = tempfile::tempdir().unwrap();
    let run = history(&measured(logs.path()));
    let given = CarbonIntensity::from_grams_per_kilowatt_hour(50.0);
    let site = Site::choose(Some(given), None, None).unwrap();
    let card = ModelCard::of(&run, &site).unwrap();
    let path = Path::new("README.md");
    let of = |text: &str| card.written_into(&format!("---\n{text}z: 1\n---\n"), path);
    let clean = of("co2_eq_emissions: 1\n").unwrap().0;
    for (entry, kept) in [
        (
            "co2_eq_emissions:\n  emissions: 1\n  source: x\n  geographical_location: \"Germany\"\n  hardware_used: y\n",
            &[][..],
        ),
        (
            "co2_eq_emissions:\n  geographical_location:\n    Germany\n  emissions: 1\n  source: x\n",
            &[],
        ),
        ("co2_eq_emissions:\n  emissions: 1\n  source: x\n  geographical_location:\n", &[]),
        ("co2_eq_emissions: {geographical_location: Germany}\n", &[]),
        (
            "co2_eq_emissions:\n  emissions: 1\n  geographical_location: >\n    Germany\n  source: x\n  training_type: \"a\"\n",
            &["training_type"],
        ),
        (
            "co2_eq_emissions: {emissions: 1, 'training_type': \"a\", geographical_location: Germany}\n",
            &["training_type"],
        ),
    ] {
        let (text, told) = of(entry).unwrap();
        assert!(!text.contains("geographical_location") && !text.contains("Germany"), "{text}");
        assert_eq!(told, kept, "{text}");
        assert_eq!(text.contains("training_type"), !kept.is_empty(), "{text}");
        assert!(!kept.is_empty() || text == clean, "{text}\n{clean}");
    }
    for entry in [
        "co2_eq_emissions:\n  geographical_location: Germany # since May\n",
        "co2_eq_emissions:\n  geographical_location:\n    # since May\n    Germany\n",
        "co2_eq_emissions:\n  geographical_location: &a Germany\n",
        "co2_eq_emissions:\n  geographical_location:\n  - Germany\n",
        "co2_eq_emissions:\n  note: |\n    a\n  geographical_location: Germany\n",
    ] {
        let refused = of(entry).unwrap_err();
        assert!(refused.what().starts_with("`README.md`, line "), "{refused}");
    }
}

#[test]
fn a_card_that_is_not_understood_for_certain_is_refused_with_its_line() {
    let logs = tempfile::tempdir().unwrap();
    let (card, _) = entry(logs.path());
    for (text, line) in [
        ("---\nlicense: mit\n", 1),
        ("--- \nlicense: mit\n---\n", 1),
        ("\n  ---\nlicense: mit\n---\n", 2),
        ("---\na: 1\nco2_eq_emissions: 1\nb: 2\nco2_eq_emissions: 2\n---\n", 5),
        ("---\nco2_eq_emissions:\n- 1\n---\n", 3),
        ("---\nco2_eq_emissions: [1]\n---\n", 2),
        ("---\nco2_eq_emissions: &a 1\nb: *a\n---\n", 2),
        ("---\nco2_eq_emissions: &a\n  emissions: 1\n---\n", 0),
        ("---\nco2_eq_emissions:\n  emissions: &a 1\n---\n", 3),
        ("---\nco2_eq_emissions:\n  emissions: !!float\n---\n", 3),
        ("---\nco2_eq_emissions:\n  emissions: # g\n    !!float\n  source: a\n---\n", 3),
        ("---\nco2_eq_emissions:\n\n  !!map\n---\n", 2),
        ("---\nco2_eq_emissions:\n  source:\n    - a\n---\n", 4),
        ("---\nco2_eq_emissions:\n  emissions: 1\n  emissions: 2\n---\n", 4),
        ("---\nco2_eq_emissions: {a: {b: 1}}\n---\n", 2),
        ("---\nco2_eq_emissions:\n  source: | # why\n    a\n---\n", 3),
        ("---\n- a\n---\n", 2),
        ("---\n{license: mit}\n---\n", 2),
        ("---\n  license: mit\n---\n", 2),
        ("---\na: 1\nwords\n---\n", 3),
        ("---\na: \"open\nb: 1\n---\n", 2),
        ("---\na: [open\nb: 1\n---\n", 2),
        ("---\na: \"x\" y\n---\n", 2),
        ("---\na: b: c\n---\n", 2),
        ("---\n\tb: 1\n---\n", 2),
        ("---\n? a\n: b\n---\n", 2),
        ("---\na: @b\n---\n", 2),
        ("---\na: 1\rco2_eq_emissions: 1\n---\n", 2),
        ("---\rlicense: mit\r---\r\n", 1),
        ("---\na: x\u{2028}co2_eq_emissions: 1\n---\n", 2),
        ("---\na: x\u{85}co2_eq_emissions: 1\n---\n", 2),
        ("---\na: 1\n&k co2_eq_emissions: 1\n---\n", 3),
        ("---\na: 1\n!!str \"co2_eq_emissions\": 1\n---\n", 3),
        ("---\n\"co2\\u005feq_emissions\": 1\n---\n", 2),
        ("---\na: 1\n...\nb: 2\n---\n", 3),
        ("---\n%YAML 1.2\n---\n", 2),
        ("---\nco2_eq_emissions:\n\temissions: 3\n---\n", 3),
        ("---\n\"co2_eq_emissions\": 1\n'co2_eq_emissions': 2\n---\n", 3),
    ] {
        let done = card.written_into(text, Path::new("dir/README.md"));
        match (line, done) {
            // An anchor on the mapping itself stays where it is.
            (0, done) => assert!(
                done.unwrap().0.starts_with("---\nco2_eq_emissions: &a\n  emissions: 0.0"),
                "{text}"
            ),
            (_, Ok((done, _))) => panic!("{text} became {done}"),
            (line, Err(error)) => {
                assert!(
                    error.what().starts_with(&format!("`dir/README.md`, line {line}: ")),
                    "{error}\n{text}"
                );
                assert!(error.remedy().unwrap().contains("nothing was changed"));
            }
        }
    }
}

proptest! {
    /// Whatever a card is made of, its bytes are all there after, in their order, or it is refused.
    #[test]
    fn no_byte_of_a_card_is_lost(parts in proptest::collection::vec("(---|- |a: |co2_eq_emissions:|'|\"|\\[|\\}|\\||#| |\\n|\\r\\n|\\n  |x)", 0..24)) {
        thread_local! {
            static CARD: ModelCard = {
                let logs = tempfile::tempdir().unwrap();
                entry(logs.path()).0
            };
        }
        let text = format!("---\n{}\n---\nbody", parts.concat());
        // Where the entry is there already, its value goes.
        prop_assume!(!text.contains("co2_eq_emissions"));
        if let Ok((card, _)) = CARD.with(|card| card.written_into(&text, Path::new("x"))) {
            let at = card.find("co2_eq_emissions").unwrap();
            let end = at + card[at..].match_indices('\n').nth(4).map_or(card.len() - at, |(end, _)| end + 1);
            let mut rest = format!("{}{}", &card[..at], &card[end..]);
            if rest.len() != text.len() {
                // A front matter of its own was put in front.
                rest = rest.replacen("---\r\n---\r\n", "", 1);
                if rest.len() != text.len() {
                    rest = rest.replacen("---\n---\n", "", 1);
                }
            }
            prop_assert_eq!(rest, text);
        }
    }
}

#[test]
fn the_command_writes_into_a_card_through_a_link_and_leaves_a_refused_one() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(&logs.path().join("runs"));
    let (card, link) = (logs.path().join("card.md"), logs.path().join("README.md"));
    fs::write(&card, "---\nlicense: mit\n---\n# Model\n").unwrap();
    std::os::unix::fs::symlink(&card, &link).unwrap();
    let export = |place: &[&str]| {
        let mut arguments = vec!["export", "--format", "model-card", "-o", link.to_str().unwrap()];
        arguments.push(run.to_str().unwrap());
        arguments.extend(place);
        ergometer(&arguments)
    };
    let (status, _, err) = export(&[]);
    assert_eq!(status, 1);
    assert!(err.contains("give the country, as in `--country FR`"), "{err}");
    assert_eq!(fs::read_to_string(&card).unwrap(), "---\nlicense: mit\n---\n# Model\n");
    let (status, out, err) = export(&["--country", "FR"]);
    assert_eq!((status, out.as_str()), (0, ""), "{err}");
    assert!(link.is_symlink());
    let text = fs::read_to_string(&card).unwrap();
    assert!(
        text.starts_with("---\nlicense: mit\nco2_eq_emissions:\n  emissions: 0.01727\n"),
        "{text}"
    );
    assert!(text.ends_with("\n---\n# Model\n"), "{text}");
    fs::write(&card, text.replace("  source:", "  training_type: x\n  source:")).unwrap();
    let (status, _, err) = export(&["--country", "FR"]);
    assert!(status == 0 && err.contains("keeps `training_type` from before: see that"), "{err}");
    assert_eq!(fs::read_dir(logs.path()).unwrap().count(), 3, "a draft was left behind");
}

#[test]
fn line_ends_that_are_mixed_stay_so() {
    let logs = tempfile::tempdir().unwrap();
    let (card, lines) = entry(logs.path());
    let entry: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let of = |text: &str| card.written_into(text, Path::new("README.md")).unwrap().0;
    assert_eq!(
        of("---\na: 1\r\nb: 2\n---\r\nc\rd\n"),
        format!("---\na: 1\r\nb: 2\nco2_eq_emissions:\n{entry}---\r\nc\rd\n")
    );
}

#[cfg(unix)]
#[test]
fn a_read_only_card_is_refused_and_stays() {
    use std::os::unix::fs::PermissionsExt;

    let logs = tempfile::tempdir().unwrap();
    let run = measured(&logs.path().join("runs"));
    let card = logs.path().join("README.md");
    fs::write(&card, "# Model\n").unwrap();
    fs::set_permissions(&card, fs::Permissions::from_mode(0o444)).unwrap();
    let arguments = ["export", "--format", "model-card", "--country", "FR"];
    let paths = ["-o", card.to_str().unwrap(), run.to_str().unwrap()];
    let (status, _, err) = ergometer(&[&arguments[..], &paths].concat());
    assert_eq!(status, 1);
    assert!(err.contains("README.md` is read-only"), "{err}");
    assert_eq!(fs::read_to_string(&card).unwrap(), "# Model\n");
    assert_eq!(fs::read_dir(logs.path()).unwrap().count(), 2, "a draft was left behind");
}
