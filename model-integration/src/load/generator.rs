//! Runs the client and the loops on the calling thread.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::drive::{Job, drive};
use super::exchange::Client;
use super::soak::Soak;
use super::summary::summarise;
use crate::record::load::{Level, LevelRecord, Targets};
use crate::record::soak::Soaked;

/// The timers and sockets of one thread, so that load takes at most one core.
pub struct Generator(Runtime);

impl Generator {
    /// A generator that does nothing yet.
    ///
    /// # Errors
    /// If the system refuses timers or sockets.
    pub fn new() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the timers and sockets of the generator")?;
        Ok(Self(runtime))
    }

    /// The first model that a server lists.
    ///
    /// # Errors
    /// If there is none.
    pub fn first_model(&self, client: &Client) -> Result<String> {
        let url = &client.endpoint().url;
        let models = self.0.block_on(client.get("models"));
        let models = models.with_context(|| {
            format!("`{url}` does not list its models; start the server, or give --model")
        })?;
        let name = models.pointer("/data/0/id").and_then(Value::as_str);
        let name = name.with_context(|| format!("`{url}` lists no model; give --model"))?;
        Ok(name.to_owned())
    }

    /// Runs a soak; `None` if it was stopped.
    ///
    /// # Errors
    /// If a request cannot be made.
    pub fn soak(&self, soak: &Arc<Soak>, stop: &AtomicBool) -> Result<Option<Soaked>> {
        self.0.block_on(super::soak::soak(soak, stop))
    }

    /// Measures level number `number`; `None` if it was stopped.
    ///
    /// # Errors
    /// If a request cannot be made.
    pub fn measure(
        &self,
        job: &Arc<Job>,
        (number, level): (usize, Level),
        targets: Targets,
        stop: &AtomicBool,
    ) -> Result<Option<LevelRecord>> {
        let outcomes = self.0.block_on(drive(job, (number, level), stop))?;
        Ok(outcomes.map(|outcomes| summarise(level, &outcomes, targets)))
    }
}
