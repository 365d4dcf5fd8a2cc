//! Sentences for a paper: what they say, what they cite, and that nothing in a name is markup.

use std::path::PathBuf;

use ergometer_report::site::Site;
use ergometer_sinks::export::Sentence;

use super::{HOSTILE, estimated, france, history, measured};
use crate::made::{self, read};

#[test]
fn a_sentence_says_measured_or_estimated_and_cites_what_it_rests_on() {
    let logs = tempfile::tempdir().unwrap();
    let sentence = Sentence::of(&history(&measured(logs.path())), &france()).unwrap();
    let text = sentence.markdown();
    assert!(text.starts_with("Training mlp (1,000 parameters, 3 epochs, 15.0 s"), "{text}");
    assert!(text.contains(") used 1500 J ± 60 J, measured with"), "{text}");
    assert!(text.contains(" (energy counter: rapl)[^ergometer][^khan2018]."), "{text}");
    assert!(
        text.contains("the whole machine as far as it was covered, whoever used it."),
        "{text}"
    );
    assert!(
        text.contains(
            " CO2e[^strubell2019][^ember2026]; the uncertainty is that of the energy alone."
        ),
        "{text}"
    );
    assert!(
        text.contains("\n[^jcgm100]: Joint Committee for Guides in Metrology (2008)."),
        "{text}"
    );
    // What is given by the user is not the mean of a country, and nowhere is no emission.
    let given = Site::choose(
        Some(ergometer_report::quantity::CarbonIntensity::from_grams_per_kilowatt_hour(50.0)),
        None,
        None,
    );
    let text = Sentence::of(&history(&measured(logs.path())), &given.unwrap()).unwrap().markdown();
    assert!(
        text.contains("At 50 g CO2e/kWh (given by the user)") && !text.contains("ember"),
        "{text}"
    );
    let text = Sentence::of(&history(&estimated(logs.path(), HOSTILE)), &Site::default()).unwrap();
    let (markdown, latex) = (text.markdown(), text.latex());
    assert!(!markdown.contains("CO2") && !latex.contains("CO$_2$"), "{markdown}");
    assert!(markdown.starts_with(r#"Training =cmd\|'!A1,"\<b\>    --- \\end\{x\} \$\& \_\*\`%\#\~\^\[x\](y) é (3 epochs, 15.0 s"#), "{markdown}");
    assert!(
        latex.starts_with(r#"Training =cmd\textbar{}'!A1,"\textless{}b\textgreater{}    "#),
        "{latex}"
    );
    assert!(latex.contains(r"\textbackslash{}end\{x\} \$\& \_*\textasciigrave{}\%\#\textasciitilde{}\textasciicircum{}[x](y) é ("), "{latex}");
    assert!(
        latex.contains("$\\pm$")
            && latex.contains(", estimated by a model, not measured, with ergometer"),
        "{latex}"
    );
    assert!(latex.lines().skip(1).all(|line| line.is_empty() || line.starts_with('%')), "{latex}");
}

#[test]
fn works_are_cited_together_and_their_entries_are_whole() {
    let logs = tempfile::tempdir().unwrap();
    let latex = Sentence::of(&history(&measured(logs.path())), &france()).unwrap().latex();
    assert!(latex.contains("(energy counter: rapl)~\\cite{ergometer,khan2018}."), "{latex}");
    assert!(latex.contains("CO$_2$e~\\cite{strubell2019,ember2026};"), "{latex}");
    let (_, entries) = latex.split_once("% For the bibliography, without the `% `:\n").unwrap();
    let entries: String =
        entries.lines().map(|line| format!("{}\n", line.strip_prefix("% ").unwrap())).collect();
    let entries: Vec<&str> = entries.split('@').skip(1).collect();
    assert_eq!(entries.len(), 5);
    for entry in entries {
        let depths = entry.chars().scan(0, |depth, letter| {
            *depth += i32::from(letter == '{') - i32::from(letter == '}');
            Some(*depth)
        });
        let depths: Vec<i32> = depths.collect();
        assert!(depths.iter().all(|depth| *depth >= 0) && depths.last() == Some(&0), "{entry}");
        let (plain, _) = entry.split_once("\\url{").unwrap_or((entry, ""));
        assert!(!plain.contains(['&', '%', '#', '$', '~', '^', '_']), "{entry}");
    }
}

#[test]
fn what_is_true_of_all_models_is_said_once() {
    let logs = tempfile::tempdir().unwrap();
    let runs = read(&made::two_models(logs.path(), 3));
    let text = Sentence::of(&runs, &france()).unwrap().markdown();
    let paragraphs: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(paragraphs.len(), 4, "{text}");
    assert!(paragraphs[0].contains(" At 41.44 g CO2e/kWh (France, "), "{text}");
    assert!(paragraphs[1].contains(" At the same intensity and PUE, that is 0."), "{text}");
    assert!(paragraphs[2].starts_with("Uncertainties are expanded, k = 2[^jcgm100]. "), "{text}");
    assert_eq!(text.matches("Other runs and the making").count(), 1, "{text}");
    // Where it is not true of all, each has its own.
    made::rewrite(&runs[0].summary.directory, |manifest| manifest["state"] = "stopped".into());
    let directories: Vec<PathBuf> = runs.iter().map(|run| run.summary.directory.clone()).collect();
    let text = Sentence::of(&read(&directories), &france()).unwrap().markdown();
    assert_eq!(text.matches("Other runs and the making").count(), 2, "{text}");
    let note = "Of 1 of the 3 runs, note that the run was stopped before its planned end.";
    assert_eq!(text.matches(note).count(), 1, "{text}");
}

#[test]
fn runs_of_one_model_are_one_sentence_about_their_mean() {
    let logs = tempfile::tempdir().unwrap();
    let runs = read(&made::two_models(logs.path(), 3));
    let text = Sentence::of(&runs, &Site::default()).unwrap().markdown();
    assert_eq!(text.matches("Training ").count(), 2, "{text}");
    assert_eq!(
        text.matches(" on average over 3 runs, measured with ergometer").count(),
        2,
        "{text}"
    );
}
