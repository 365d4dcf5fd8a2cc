//! `ergometer config`: what is set, and where.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ergometer_sinks::config::{Config, Setting};
use serde::Serialize;

use crate::{FAILURE, complain, write_json};

/// Tells what is set, and where: in the environment, in `ergometer.toml`, or nowhere.
#[derive(Args, Debug)]
pub(crate) struct Configuration {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every setting with its value and where that is from; of a secret, whether it is set.
    ///
    /// Behind them stands which sinks are on. What is not understood, or does not go together, is told last, and the exit status is
    /// 1. No server is asked.
    ///
    /// What a program sets itself counts before both, and is not seen here. It takes them in with `Sinks::configured`.
    Show(Show),
}

#[derive(Args, Debug)]
struct Show {
    /// The file, if it is not `ergometer.toml` in the current directory.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Give an array with an object for each: `key`, `variable`, `value`, `from`, `meaning`.
    #[arg(long)]
    json: bool,
}

/// A setting, as JSON.
#[derive(Debug, Serialize)]
struct Shown {
    key: &'static str,
    variable: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    meaning: &'static str,
}

impl Configuration {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let Command::Show(show) = &self.command;
        let read = show.file.as_ref().map_or_else(Config::read, Config::open);
        match read {
            Ok(config) => {
                let config = config.from_env();
                show.write(&config, out)?;
                let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
                let mut faults = config.faults();
                faults.extend(Config::slips(variables));
                let status = if faults.is_empty() { 0 } else { FAILURE };
                faults.into_iter().for_each(|fault| complain(err, fault));
                Ok(status)
            }
            Err(error) => {
                complain(err, error);
                Ok(FAILURE)
            }
        }
    }
}

impl Show {
    fn write(&self, config: &Config, out: &mut dyn Write) -> io::Result<()> {
        let shown: Vec<Shown> = config.settings().map(Shown::from).collect();
        if self.json {
            return write_json(out, &shown);
        }
        let widest = |part: fn(&Shown) -> usize| shown.iter().map(part).max().unwrap_or_default();
        let key = widest(|it| it.key.len());
        let value = widest(|it| it.value.as_ref().map_or(0, |value| value.chars().count()));
        for it in &shown {
            let unset = || format!("not set: {}", it.variable);
            let from = it.from.clone().unwrap_or_else(unset);
            let said = it.value.as_deref().unwrap_or("-");
            writeln!(out, "{:<key$}  {said:<value$}  {from}", it.key)?;
        }
        let (mut on, mut off) = (Vec::new(), Vec::new());
        for (sink, why) in config.sinks() {
            match why {
                None => on.push(sink.to_owned()),
                Some(why) => off.push(format!("{sink} ({why})")),
            }
        }
        for (word, sinks) in [("on", on), ("off", off)] {
            let sinks = if sinks.is_empty() { "none".to_owned() } else { sinks.join(", ") };
            writeln!(out, "{word}: {sinks}")?;
        }
        Ok(())
    }
}

impl From<Setting> for Shown {
    fn from(it: Setting) -> Shown {
        // What is set may come from anywhere, and a terminal obeys control characters.
        let value = it.value.map(|value| value.escape_debug().to_string());
        let from = it.origin.map(|origin| origin.to_string());
        Shown { key: it.key, variable: it.variable, value, from, meaning: it.meaning }
    }
}
