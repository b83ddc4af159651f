//! Puts in front of each function what the template says: routes, queues, schedules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sam_template::{Function, Template};
use shared::Platform;

use crate::aws::QueueRef;
use crate::busy::Busy;
use crate::connectors::Remembered;
use crate::cpu::Cpu;
use crate::error::StartError;
use crate::functions::{Code, InProgress, Invoker, connect};
use crate::invocations::Invoked;
use crate::poller::{BUSY_MAX, PollMode, Poller};
use crate::role_policy::RolePolicy;
use crate::routes::{Api, HttpFunction};
use crate::schedule::Scheduled;
use crate::services::Services;
use crate::settings;

/// What calls the functions.
pub(crate) struct Callers {
    pub(crate) api: Api,
    pub(crate) pollers: Vec<Poller>,
}

/// The functions, each by its name.
pub(crate) struct Functions {
    pub(crate) environments: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) role_policies: BTreeMap<String, RolePolicy>,
    pub(crate) cpu: BTreeMap<String, Cpu>,
    pub(crate) progress: BTreeMap<String, InProgress>,
    pub(crate) scheduled: Vec<Arc<Scheduled>>,
    /// The queues that feed one.
    pub(crate) sources: Vec<QueueRef>,
    /// How long the slowest may take.
    pub(crate) longest: Duration,
}

/// How long one invocation may take.
fn timeout(function: &Function) -> Duration {
    Duration::from_secs(function.timeout_seconds.into())
}

impl Functions {
    /// Connects all functions, and puts in front of them what the template says.
    ///
    /// # Errors
    /// A setting makes no sense, or the template names a function or an event that is not known here.
    pub(crate) fn connect(
        template: &Template,
        services: &Services,
        environments: BTreeMap<String, BTreeMap<String, String>>,
    ) -> Result<(Self, Callers), StartError> {
        let Services { platform, meter, receiving, names, .. } = services;
        let poll_mode = if services.embedded.is_some() { PollMode::Embedded } else { PollMode::Foreign };
        let (mut http, mut pollers, mut scheduled) = (Vec::new(), Vec::new(), Vec::new());
        let mut invoked = BTreeMap::new();
        let (mut role_policies, mut cpu, mut progress) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for function in &template.functions {
            let wrong = |problem: &str| StartError::Function(format!("{}: {problem}", function.logical_id));
            let env = settings::env(&environments[&function.name]);
            let role = RolePolicy::new(&function.name, names, template.grants(function));
            let permitted = Platform { http: Remembered::client(meter.of(role.clone())), ..platform.clone() };
            role_policies.insert(function.name.clone(), role);
            let invoker = Invoker::new(timeout(function));
            cpu.insert(function.name.clone(), invoker.cpu.clone());
            progress.insert(function.name.clone(), invoker.progress.clone());
            let code = connect(&function.name, &env, &permitted, &services.transformer)?
                .ok_or_else(|| wrong("the local runner has no such function"))?;
            let kinds =
                (function.routes.is_empty(), function.queues.is_empty(), function.schedules.is_empty());
            match (code, kinds) {
                (Code::Http(router), (_, true, true)) => {
                    let name = function.name.clone();
                    http.push((HttpFunction { name, router, invoker }, function.routes.clone()));
                }
                (Code::Queue(code), (true, _, true)) => {
                    for source in &function.queues {
                        let queue = names.queues.get(&source.queue);
                        pollers.push(Poller {
                            function: function.name.clone(),
                            invoker: invoker.clone(),
                            source: source.clone(),
                            queue: queue.cloned().ok_or_else(|| wrong("its queue was not created"))?,
                            region: names.region.clone(),
                            receiving: receiving.clone(),
                            clock: platform.clock.clone(),
                            poll_mode,
                            busy: Arc::new(Busy::new(BUSY_MAX)),
                            code: code.clone(),
                        });
                    }
                }
                (Code::Invoked(code), (true, true, true)) => {
                    invoked.insert(function.logical_id.clone(), Invoked { invoker, code });
                }
                (Code::Schedule(code), (true, true, _)) => {
                    let (rates, clock) = (function.schedules.clone(), platform.clock.clone());
                    scheduled.push(Arc::new(Scheduled::new(&function.name, rates, invoker, clock, code)));
                }
                _ => return Err(wrong("its code does not understand one of its events")),
            }
        }
        let api = Api::new(http).map_err(|route| {
            StartError::Function(format!("the route {} {} is invalid", route.method, route.path))
        })?;
        services.invoked.fill(invoked);
        let sources = pollers.iter().map(|poller| poller.queue.clone()).collect();
        let longest = template.functions.iter().map(timeout).max().unwrap_or_default();
        let functions = Self { environments, role_policies, cpu, progress, scheduled, sources, longest };
        Ok((functions, Callers { api, pollers }))
    }
}
