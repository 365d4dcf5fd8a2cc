//! [`Sinks`]: all that a [`Config`] asks for, as one observer.

use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ergometer::record::{Event, Manifest};
use ergometer::{Earlier, Energy, Error, Observer, Record, Result, Summary, Timestamp, Verdict};

use crate::config::Config;
use crate::courier::Delivery;
use crate::mlflow::Mlflow;
use crate::prometheus::Scrape;
use crate::tensorboard::TensorBoard;

/// The sinks that a [`Config`] asks for, as one observer.
///
/// ```no_run
/// use std::time::Duration;
///
/// use ergometer::Meter;
/// use ergometer_sinks::Sinks;
///
/// let sinks = Sinks::configured()?;
/// let deliveries = sinks.deliveries();
/// let run = Meter::detect()?.run("mlp-128").observe(sinks).start()?;
/// // … train …
/// run.finish()?;
/// for delivery in deliveries {
///     // Without it, a process that ends now may take the last of it along.
///     if let Err(error) = delivery.wait(Duration::from_secs(10)) {
///         eprintln!("{error}");
///     }
/// }
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// Its warnings are events `sinks` of the log, and say whose they are. A sink that panics is told no more, and the others go on.
#[derive(Default)]
pub struct Sinks {
    sinks: Vec<Box<dyn Observer>>,
    deliveries: Vec<Delivery>,
    prometheus: Option<SocketAddr>,
    /// What there is to say of sinks that panicked, or could not begin.
    gone: Vec<String>,
}

impl Sinks {
    /// Those that the environment asks for, or else `ergometer.toml` in the current directory. None, if neither asks for any.
    ///
    /// # Errors
    /// As [`Config::read`] and [`from_config`](Sinks::from_config).
    pub fn configured() -> Result<Sinks> {
        Sinks::from_config(&Config::read()?.from_env())
    }

    /// Those that a configuration asks for.
    ///
    /// A port for Prometheus that is taken, by another training say, keeps no training from its start: that sink is left out,
    /// and an event `sinks` of the log says so, and what to do. So is MLflow, where the environment names a store that only
    /// MLflow itself opens, such as `sqlite:///mlflow.db`. Nothing is sent yet, so that no server has to be up.
    ///
    /// # Errors
    /// If an address is not understood, or never can be listened on; the text says where it is set, and no secret.
    pub fn from_config(config: &Config) -> Result<Sinks> {
        let mut sinks = Sinks::default();
        if let Some(directory) = config.path("tensorboard.directory") {
            let board = TensorBoard::new(directory);
            sinks.deliveries.push(board.delivery());
            sinks.sinks.push(Box::new(board));
        }
        if let Some(error) = config.left_out() {
            sinks.gone.push(format!("mlflow is left out: {error}"));
        } else if let Some(mlflow) = config.mlflow()? {
            sinks.deliveries.push(mlflow.delivery());
            sinks.sinks.push(Box::new(mlflow));
        }
        if let Some(addresses) = config.prometheus()? {
            let bound = Scrape::bind(addresses.as_slice());
            let may_pass = bound.as_ref().is_err_and(Error::is_lost);
            match config.said("prometheus.address", bound) {
                Ok(scrape) => {
                    sinks.prometheus = Some(scrape.address());
                    sinks.sinks.push(Box::new(scrape));
                }
                Err(error) if may_pass => {
                    sinks.gone.push(format!("prometheus is left out: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(otlp) = config.otlp()? {
            sinks.deliveries.push(otlp.delivery());
            sinks.sinks.push(Box::new(otlp));
        }
        Ok(sinks)
    }

    /// The MLflow server that a configuration names, to tell it of logs.
    ///
    /// # Errors
    /// If its address is not understood.
    pub fn mlflow(config: &Config) -> Result<Option<Mlflow>> {
        config.mlflow()
    }

    /// What they are called.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sinks.iter().map(|sink| sink.name())
    }

    /// Where Prometheus asks, if it can; which port that is, where port 0 left it open.
    pub fn prometheus(&self) -> Option<SocketAddr> {
        self.prometheus
    }

    /// Handles to wait for the last of what is sent, in a process that ends with the run.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.clone()
    }

    fn tell(&mut self, mut tell: impl FnMut(&mut dyn Observer) -> Verdict) -> Verdict {
        let mut said = std::mem::take(&mut self.gone);
        self.sinks.retain_mut(|sink| {
            let name = sink.name().to_owned();
            match catch_unwind(AssertUnwindSafe(|| tell(&mut **sink))) {
                Ok(Verdict::GoOn) => {}
                // No sink of ours asks a training to stop.
                Ok(Verdict::Warn(text) | Verdict::Stop(text)) => said.push(text),
                Err(_) => {
                    said.push(format!("{name} panicked, and is told no more"));
                    return false;
                }
            }
            true
        });
        if said.is_empty() { Verdict::GoOn } else { Verdict::Warn(said.join("; ")) }
    }

    /// Tells them something that no answer is heard to.
    fn tell_unheard(&mut self, mut tell: impl FnMut(&mut dyn Observer)) {
        let said = self.tell(|sink| {
            tell(sink);
            Verdict::GoOn
        });
        if let Verdict::Warn(text) = said {
            self.gone.push(text);
        }
    }
}

impl Observer for Sinks {
    fn name(&self) -> &str {
        "sinks"
    }

    fn began(&mut self, manifest: &Manifest) {
        self.tell_unheard(|sink| sink.began(manifest));
    }

    fn resumed(&mut self, earlier: &Earlier) {
        self.tell_unheard(|sink| sink.resumed(earlier));
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        self.tell(|sink| sink.settled(window))
    }

    fn used(&mut self, energy: Energy, now: Timestamp) -> Verdict {
        self.tell(|sink| sink.used(energy, now))
    }

    fn happened(&mut self, event: &Event) {
        self.tell_unheard(|sink| sink.happened(event));
    }

    fn ended(&mut self, summary: &Summary) {
        self.tell_unheard(|sink| sink.ended(summary));
    }
}

impl fmt::Debug for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts what it is told, and panics at a number of it.
    struct Fragile(u32);

    impl Observer for Fragile {
        fn name(&self) -> &str {
            "fragile"
        }

        fn used(&mut self, _energy: Energy, _now: Timestamp) -> Verdict {
            self.0 -= 1;
            assert!(self.0 > 0, "told once too often");
            Verdict::Warn(format!("{} left", self.0))
        }
    }

    #[test]
    fn one_that_panics_is_told_no_more_and_the_others_are() {
        let mut sinks =
            Sinks { sinks: vec![Box::new(Fragile(2)), Box::new(Fragile(4))], ..Sinks::default() };
        let mut told = || sinks.used(Energy::ZERO, Timestamp::default());
        assert_eq!(told(), Verdict::Warn("1 left; 3 left".to_owned()));
        let second = "fragile panicked, and is told no more; 2 left";
        assert_eq!(told(), Verdict::Warn(second.to_owned()));
        assert_eq!(told(), Verdict::Warn("1 left".to_owned()));
        sinks.tell_unheard(|_| panic!("told of the beginning"));
        let Verdict::Warn(said) = sinks.used(Energy::ZERO, Timestamp::default()) else {
            panic!("nobody said that it is gone")
        };
        assert_eq!(said, "fragile panicked, and is told no more");
        assert_eq!(sinks.names().count(), 0);
    }
}
