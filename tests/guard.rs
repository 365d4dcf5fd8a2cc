//! Guards in the loop: budgets of carbon and money, forecasts, diminishing returns.

use ergometer::record::Event;
use ergometer::{Budget, Energy, Kind, Run, RunBuilder, Status};
use ergometer_report::analysis::returns::Watch;
use ergometer_report::guard::{DiminishingReturns, Forecast};
use ergometer_report::metric::Direction;
use ergometer_report::quantity::{CarbonIntensity, Co2e, Currency, EnergyPrice, Money, Pue};
use ergometer_report::site::Site;

use crate::lab::{Lab, constant, cpu, lines, of, windows};

/// A place of PUE 1.5, 360 g of CO2 equivalent and 0.36 euro for a kilowatt hour: 1.5 · 0.1 mg and 1.5 · 0.1 millionths of a euro for a joule.
fn site() -> Site {
    let price = EnergyPrice::per_kilowatt_hour(Money::new(0.36, Currency::EURO));
    Site::default()
        .pue(Pue::new(1.5).unwrap(), "measured")
        .intensity(CarbonIntensity::from_grams_per_kilowatt_hour(360.0), "given")
        .unwrap()
        .price(price)
}

/// A run of constant power: epochs of a second in steps of 50 ms, an accuracy after each.
fn train(lab: &Lab, accuracies: &[f64], change: impl FnOnce(RunBuilder) -> RunBuilder) -> Run {
    let run = change(lab.meter([cpu(constant(100.0))]).run("guarded")).start().unwrap();
    for epoch in run.epochs(1..=accuracies.len()) {
        for _batch in run.steps(0..20) {
            lab.pass(50);
        }
        run.metric("accuracy", accuracies[epoch - 1]);
    }
    run
}

fn events(run: &std::path::Path, name: &str) -> Vec<Event> {
    let event = |line| match line {
        ergometer::log::Line::Event(event) if event.event == name => Some(event),
        _ => None,
    };
    lines(run).into_iter().filter_map(event).collect()
}

#[test]
fn a_budget_of_carbon_ends_the_loop_within_a_step_and_the_table_says_so() {
    let lab = Lab::new();
    // 45 mg are 300 J of the equipment.
    let budget = site().carbon_budget(Co2e::from_grams(0.045)).unwrap();
    assert!((budget.limit() - Energy::from_joules(300.0)).abs() < Energy::from_joules(1e-6));
    let run = train(&lab, &[0.5; 10], |run| run.budget(budget));
    let reason = run.stop_reason().unwrap();
    assert!(reason.contains("carbon budget of 45.0 mg CO2e, 300.0 J at 360 g"), "{reason}");
    assert!(reason.contains("PUE 1.5"), "{reason}");
    let path = run.path().to_owned();
    let table = run.finish().unwrap().to_string();
    assert!(table.contains("stopped: the carbon budget"), "{table}");
    let windows = windows(&path);
    let over = of(&windows, Kind::End)[0].energy.unwrap() - Energy::from_joules(300.0);
    // A step of 50 ms at 100 W is 5 J.
    assert!((-0.01..=5.2).contains(&over.as_joules()), "{over}");
    assert_eq!(of(&windows, Kind::Step).last().unwrap().status, Status::Stopped);
}

#[test]
fn a_budget_of_money_ends_the_loop_in_its_own_currency() {
    let lab = Lab::new();
    let limit = Money::new(0.000_03, Currency::EURO);
    let run = train(&lab, &[0.5; 10], |run| run.budget(site().money_budget(limit).unwrap()));
    assert!(run.stop_reason().unwrap().contains("200.0 J at PUE 1.5"), "{:?}", run.stop_reason());
    let spent = run.finish().unwrap().end.energy.unwrap();
    assert!((199.99..=205.2).contains(&spent.as_joules()), "{spent}");

    let dollars = Money::new(1.0, Currency::US_DOLLAR);
    let refusal = site().money_budget(dollars).unwrap_err().to_string();
    assert!(refusal.contains("EUR") && refusal.contains("USD"), "{refusal}");
}

#[test]
fn a_place_that_is_not_known_has_no_budget() {
    let refusal = Site::default().carbon_budget(Co2e::from_grams(1.0)).unwrap_err().to_string();
    assert!(refusal.contains("intensity") && refusal.contains("give a country"), "{refusal}");
    let euro = Money::new(1.0, Currency::EURO);
    assert!(Site::default().money_budget(euro).unwrap_err().to_string().contains("price"));
}

#[test]
fn a_forecast_warns_as_soon_as_the_run_cannot_end_within_its_budget() {
    let lab = Lab::new();
    // 20 epochs of 100 J are 2 kJ.
    let forecast = Forecast::new(Energy::from_joules(1_000.0), 20);
    let run = train(&lab, &[0.5; 20], |run| run.observe(forecast));
    assert!(!run.is_stopped());
    let path = run.path().to_owned();
    run.finish().unwrap();
    let said = events(&path, "projection");
    assert_eq!(said.len(), 1);
    let text = said[0].detail.as_ref().unwrap();
    assert!(text.contains("after 3 of 20 epochs, 2000") && text.contains("is 1000.0 J"), "{text}");
}

#[test]
fn a_forecast_within_the_budget_says_nothing_and_one_that_stops_ends_the_loop() {
    let lab = Lab::new();
    let within = Forecast::new(Energy::from_joules(2_500.0), 20).stop();
    let run = train(&lab, &[0.5; 20], |run| run.observe(within));
    assert!(!run.is_stopped());
    run.finish().unwrap();

    let over = Forecast::new(Energy::from_joules(1_000.0), 20).stop();
    let run = train(&lab, &[0.5; 20], |run| run.observe(over));
    assert!(run.stop_reason().unwrap().contains("projected for the run"));
    let summary = run.finish().unwrap();
    assert_eq!(summary.end.status, Status::Stopped);
    assert!(summary.epochs.count <= 5, "{} epochs", summary.epochs.count);
}

#[test]
fn diminishing_returns_end_the_loop_when_the_price_is_too_high() {
    let accuracies: Vec<f64> =
        (1..=40).map(|epoch| 0.95 - 0.5 * (-0.5 * f64::from(epoch)).exp()).collect();
    let stopped_after = |worth: f64| {
        let lab = Lab::new();
        let watch =
            Watch::new("accuracy", Direction::Higher, Energy::from_joules(worth), 3).unwrap();
        let run = train(&lab, &accuracies, |run| run.observe(DiminishingReturns::new(watch)));
        let reason = run.stop_reason();
        let path = run.path().to_owned();
        let summary = run.finish().unwrap();
        assert_eq!(reason, summary.end.reason);
        assert_eq!(events(&path, "diminishing-returns").len(), usize::from(reason.is_some()));
        if let Some(reason) = reason {
            assert!(reason.contains("of accuracy, worth"), "{reason}");
            assert!(summary.to_string().contains(&format!("stopped: {reason}")));
        }
        summary.epochs.count
    };
    // Three epochs are 300 J; the more a point is worth, the longer it is tried.
    let (cheap, dear) = (stopped_after(1e4), stopped_after(1e6));
    assert!(4 < cheap && cheap < dear && dear < 40, "{cheap} and {dear} epochs");
    assert_eq!(stopped_after(1e15), 40);
}

#[test]
fn diminishing_returns_may_only_warn_and_know_the_metrics_of_evaluations() {
    let lab = Lab::new();
    let watch = Watch::new("accuracy", Direction::Higher, Energy::from_joules(1e3), 3).unwrap();
    let guard = DiminishingReturns::new(watch).warn();
    let run = lab.meter([cpu(constant(100.0))]).run("evaluated").observe(guard);
    let run = run.budget(Budget::new(Energy::from_joules(1e6))).start().unwrap();
    let mut epochs = 0;
    for _epoch in run.epochs(1..=12) {
        run.steps(0..10).for_each(|_| lab.pass(100));
        let evaluation = run.phase("evaluate");
        lab.pass(200);
        run.metric("accuracy", 0.9);
        evaluation.end();
        epochs += 1;
    }
    assert_eq!(epochs, 12);
    let path = run.path().to_owned();
    assert_eq!(run.finish().unwrap().end.status, Status::Complete);
    assert_eq!(events(&path, "diminishing-returns").len(), 1);
}

#[test]
fn diminishing_returns_know_metrics_that_come_when_the_epoch_is_over() {
    let lab = Lab::new();
    let watch = Watch::new("valid/Accuracy", Direction::Higher, Energy::from_joules(1e3), 3);
    let guard = DiminishingReturns::new(watch.unwrap());
    let run = lab.meter([cpu(constant(100.0))]).run("late").observe(guard).start().unwrap();
    let records = run.records();
    let mut epochs = 0;
    for epoch in run.epochs(1..=20) {
        run.steps(0..10).for_each(|_| lab.pass(100));
        epochs += 1;
        if epoch > 1 {
            // As burn does: of the epoch before, in the middle of this one.
            records.epoch_metrics(epoch - 1, [("valid/Accuracy".to_owned(), 0.9)]);
        }
    }
    let path = run.path().to_owned();
    let reason = run.finish().unwrap().end.reason.unwrap();
    assert!(reason.contains("of valid/Accuracy, worth"), "{reason}");
    assert!((4..20).contains(&epochs), "{epochs}");
    assert_eq!(events(&path, "diminishing-returns").len(), 1);
}

#[test]
fn a_forecast_goes_by_what_the_meter_will_show_however_uncertain_its_scale() {
    let lab = Lab::new();
    let sensor = cpu(constant(100.0)).specified(|it| it.gain = 0.35);
    let run =
        lab.meter([sensor]).run("scale").observe(Forecast::new(Energy::from_joules(900.0), 20));
    let run = run.start().unwrap();
    for _epoch in run.epochs(1..=6) {
        run.steps(0..10).for_each(|_| lab.pass(100));
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    assert_eq!(events(&path, "projection").len(), 1);
}

#[test]
fn a_forecast_of_a_resumed_run_counts_the_epochs_before() {
    let lab = Lab::new();
    let train = |run: RunBuilder, epochs: std::ops::RangeInclusive<u64>| {
        // 20 epochs of 100 J are 2 kJ, within the budget.
        let run =
            run.observe(Forecast::new(Energy::from_joules(2_200.0), 20).stop()).start().unwrap();
        for _epoch in run.epochs(epochs) {
            run.steps(0..10).for_each(|_| lab.pass(100));
        }
        let path = run.path().to_owned();
        (path, run.finish().unwrap())
    };
    let (path, _) = train(lab.meter([cpu(constant(100.0))]).run("resumed"), 1..=12);
    let again = lab.meter([cpu(constant(100.0))]).resume(&path).unwrap();
    let (_, summary) = train(again, 13..=20);
    assert_eq!((summary.end.status, summary.epochs.count), (Status::Complete, 20));
    assert!(events(&path, "projection").is_empty());
}

#[test]
fn a_value_of_another_epoch_does_not_stand_in_for_a_missing_one() {
    let lab = Lab::new();
    let watch = Watch::new("accuracy", Direction::Higher, Energy::from_joules(1.0), 3).unwrap();
    let run = lab.meter([cpu(constant(100.0))]).run("once");
    let run = run.observe(DiminishingReturns::new(watch)).start().unwrap();
    for epoch in run.epochs(1..=20) {
        run.steps(0..10).for_each(|_| lab.pass(100));
        let evaluation = run.phase("evaluate");
        lab.pass(50);
        if epoch == 1 {
            run.metric("accuracy", 0.9);
        }
        evaluation.end();
    }
    // A single value tells no trend, however long nothing else is measured.
    assert_eq!(run.finish().unwrap().epochs.count, 20);
}

#[test]
fn a_budget_of_nothing_or_of_no_number_is_refused() {
    for grams in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let refusal = site().carbon_budget(Co2e::from_grams(grams)).unwrap_err().to_string();
        assert!(refusal.contains("give a limit above 0"), "{refusal}");
        let money = Money::new(grams, Currency::EURO);
        assert!(site().money_budget(money).unwrap_err().to_string().contains("is none"));
    }
}
