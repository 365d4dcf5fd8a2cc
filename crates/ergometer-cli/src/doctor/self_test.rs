//! `ergometer doctor --self-test`: what the sensors do, as opposed to what they are said to do.

use std::time::{Duration, Instant};

use ergometer::sensor::{Provenance, Specification};
use ergometer::{Meter, Trial};

use super::page::spoken;

/// The sensors of a meter, tried out.
#[derive(Debug)]
pub(super) struct SelfTest {
    pub(super) trials: Vec<Trial>,
    /// How long it took.
    waited: Duration,
}

/// What the period of a slow counter or gauge takes to show: some updates a second apart.
const PATIENCE: Duration = Duration::from_secs(6);

impl SelfTest {
    /// Waits for the meter's own trial of its sensors: a second or so, and a few more if one is slow or silent.
    pub(super) fn of(meter: &Meter) -> SelfTest {
        let begun = Instant::now();
        SelfTest { trials: meter.trials(PATIENCE), waited: begun.elapsed() }
    }

    /// True if every sensor gave readings, and none is suspect.
    pub(super) fn is_passed(&self) -> bool {
        self.trials.iter().all(|trial| trial.reads > 0 && !trial.suspect)
    }

    /// What was found out about a sensor, in sentences.
    pub(super) fn observed(&self, sensor: &Specification) -> Vec<String> {
        let trial = self.trials.iter().find(|trial| trial.domain == sensor.domain.id);
        let Some(trial) = trial else { return Vec::new() };
        if trial.reads == 0 {
            return vec![self.silence(trial)];
        }
        let mut sentences = vec![self.updates(trial, sensor)];
        let counter = sensor.provenance == Provenance::Counter;
        let change = trial.smallest_change.filter(|_| counter);
        let change = change.map(|change| format!("its smallest change was {change}"));
        let power =
            trial.power.map_or("no power known yet".to_owned(), |power| format!("{power} now"));
        sentences.push(change.into_iter().chain([power]).collect::<Vec<_>>().join(", "));
        if let (Some(call), Some(slow)) = (trial.call, trial.slow_call) {
            let failed = match trial.failed {
                0 => String::new(),
                failed => format!("; {failed} reads failed"),
            };
            let (call, slow) = (spoken(call), spoken(slow));
            sentences.push(format!("a read takes {call} (p50), {slow} (p99){failed}"));
        }
        if let Some((ratio, uncertainty)) = trial.agreement {
            let expanded = 2.0 * uncertainty;
            sentences.push(format!(
                "counts {ratio:.2} ± {expanded:.2} (k = 2) times the energy of the power beside it"
            ));
        }
        sentences.extend(trial.doubts.iter().map(|doubt| format!("suspect: {doubt}")));
        sentences
    }

    /// What has to be known before these sensors are relied on, in sentences that stand by themselves.
    pub(super) fn remarks<'a>(
        &self,
        sensors: impl IntoIterator<Item = &'a Specification>,
    ) -> Vec<String> {
        let mut remarks = Vec::new();
        for sensor in sensors {
            let id = &sensor.domain.id;
            let Some(trial) = self.trials.iter().find(|trial| trial.domain == *id) else {
                continue;
            };
            if trial.reads == 0 {
                remarks.push(format!("{id} gave {}", self.silence(trial)));
            }
            if let Some(period) = other_period(trial, sensor) {
                let (period, nominal) = (spoken(period), spoken(sensor.period));
                remarks.push(format!("{id} is updated every {period}, not every {nominal}"));
            }
            remarks.extend(trial.doubts.iter().map(|doubt| format!("{id} is suspect: {doubt}")));
        }
        remarks
    }

    fn silence(&self, trial: &Trial) -> String {
        let waited = spoken(self.waited);
        match trial.failed {
            0 => format!("no reading in {waited}: its driver does not answer"),
            failed => format!("no reading in {waited}: all of {failed} reads failed"),
        }
    }

    fn updates(&self, trial: &Trial, sensor: &Specification) -> String {
        let waited = spoken(self.waited);
        match trial.period {
            _ if sensor.provenance == Provenance::Model => {
                "computed when it is read, with no updates of its own".to_owned()
            }
            Some(period) => {
                let jitter = trial.jitter.map(|jitter| format!(" ± {}", spoken(jitter)));
                let nominal = other_period(trial, sensor)
                    .map(|_| format!(", not every {}", spoken(sensor.period)));
                format!(
                    "updated every {}{}{}",
                    spoken(period),
                    jitter.unwrap_or_default(),
                    nominal.unwrap_or_default()
                )
            }
            None if is_always_new(trial, sensor) => {
                "each reading showed a new value: updated no slower than it can be read".to_owned()
            }
            None if trial.power.is_none() => format!("no update seen in {waited}"),
            None => format!("too few updates in {waited} to tell how often it is updated"),
        }
    }
}

/// The period that was observed, if it is another than the nominal one.
pub(super) fn other_period(trial: &Trial, sensor: &Specification) -> Option<Duration> {
    // Reads are a millisecond apart, so what is faster is not told apart.
    let told_apart = Duration::from_millis(10);
    trial.period.filter(|period| {
        let nominal = sensor.period;
        let off = period.abs_diff(nominal);
        sensor.provenance != Provenance::Model
            && !nominal.is_zero()
            && (*period).max(nominal) >= told_apart
            && off > nominal / 5
    })
}

/// True if a sensor that is said to be updated fast showed another value whenever it was read.
fn is_always_new(trial: &Trial, sensor: &Specification) -> bool {
    sensor.period <= Duration::from_millis(10) && trial.power.is_some() && trial.period.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ergometer::sensor::{Domain, Hardware};
    use ergometer::{Energy, Power};

    fn gpu() -> Specification {
        let domain = Domain::new(Hardware::Gpu, "GPU-0", "a GPU");
        let period = Duration::from_millis(100);
        Specification { period, ..Specification::counter(domain, "nvml energy counter") }
    }

    fn good() -> Trial {
        Trial {
            domain: "gpu:GPU-0".to_owned(),
            complete: true,
            period: Some(Duration::from_millis(101)),
            jitter: Some(Duration::from_micros(800)),
            smallest_change: Some(Energy::from_millijoules(9_310)),
            power: Some(Power::from_watts(93.1)),
            reads: 800,
            failed: 0,
            call: Some(Duration::from_micros(12)),
            slow_call: Some(Duration::from_micros(40)),
            agreement: Some((0.99, 0.005)),
            doubts: Vec::new(),
            suspect: false,
        }
    }

    fn test(trial: Trial) -> SelfTest {
        SelfTest { trials: vec![trial], waited: Duration::from_millis(1_230) }
    }

    fn said(trial: Trial) -> (Vec<String>, Vec<String>, bool) {
        let test = test(trial);
        let plain = |text: Vec<String>| -> Vec<String> {
            text.into_iter().map(|text| text.replace('\u{a0}', " ")).collect()
        };
        (plain(test.observed(&gpu())), plain(test.remarks([&gpu()])), test.is_passed())
    }

    #[test]
    fn a_sound_sensor_is_described_and_not_remarked_on() {
        let (observed, remarks, passed) = said(good());
        let expected = [
            "updated every 101 ms ± 800 µs",
            "its smallest change was 9.3 J, 93.1 W now",
            "a read takes 12 µs (p50), 40 µs (p99)",
            "counts 0.99 ± 0.01 (k = 2) times the energy of the power beside it",
        ];
        assert_eq!(observed, expected);
        assert!(remarks.is_empty() && passed, "{remarks:?}");
    }

    #[test]
    fn another_period_than_the_nominal_one_is_remarked_on() {
        let period = Some(Duration::from_millis(512));
        let (observed, remarks, passed) = said(Trial { period, jitter: None, ..good() });
        assert_eq!(observed[0], "updated every 512 ms, not every 100 ms");
        assert_eq!(remarks, ["gpu:GPU-0 is updated every 512 ms, not every 100 ms"]);
        assert!(passed, "a slow counter is no fault");
    }

    #[test]
    fn what_was_not_seen_is_said_and_never_zero() {
        let unseen = Trial {
            period: None,
            jitter: None,
            smallest_change: None,
            power: None,
            agreement: None,
            ..good()
        };
        let (observed, ..) = said(unseen);
        assert_eq!(observed[0], "no update seen in 1.2 s");
        assert_eq!(observed[1], "no power known yet");
        let (observed, ..) = said(Trial { period: None, jitter: None, ..good() });
        assert_eq!(observed[0], "too few updates in 1.2 s to tell how often it is updated");
    }

    #[test]
    fn a_sensor_that_fails_or_hangs_gave_no_reading() {
        for (failed, why) in [(0, "its driver does not answer"), (7, "all of 7 reads failed")] {
            let (observed, remarks, passed) = said(Trial { reads: 0, failed, ..good() });
            assert_eq!(observed, [format!("no reading in 1.2 s: {why}")]);
            assert_eq!(remarks[0], format!("gpu:GPU-0 gave no reading in 1.2 s: {why}"));
            assert!(!passed);
        }
    }

    #[test]
    fn a_suspect_is_named_with_its_reason() {
        let doubts = vec!["its counter gives 0.57 times the energy".to_owned()];
        let (observed, remarks, passed) = said(Trial { doubts, suspect: true, ..good() });
        assert_eq!(observed.last().unwrap(), "suspect: its counter gives 0.57 times the energy");
        assert_eq!(remarks, ["gpu:GPU-0 is suspect: its counter gives 0.57 times the energy"]);
        assert!(!passed);
    }

    #[test]
    fn a_fast_counter_that_moves_at_each_read_has_no_period_to_find() {
        let fast = Specification { period: Duration::from_millis(1), ..gpu() };
        let test = test(Trial { period: None, jitter: None, ..good() });
        assert!(test.observed(&fast)[0].starts_with("each reading showed a new value"));
    }
}
