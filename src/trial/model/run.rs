//! One run: the same requests to broker and reference, and every answer compared.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use futures::FutureExt as _;

use super::{
    coverage::Coverage,
    drive::{Driver, Waiting},
    op::{Free, Op, Step},
    reference::{Expected, Reference},
    request::{Answered, Decided, Request},
    resolve::Clients,
};
use crate::{
    planted::Planted,
    record::Timestamp,
    trial::{Rng, words_of},
};

/// When every run begins: some time in 2026.
const BEGIN: Timestamp = Timestamp(1_770_000_000_000_000);
/// Steps between comparisons of everything.
const COMPARE_EVERY: usize = 20;
/// Turns that dequeues may take whose cursor is late: each one puts at least one of them in its place.
const MAX_TURNS: usize = 20;

/// Where broker and reference differ.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    pub(super) step: usize,
    pub(super) what: String,
}

struct Run<'a> {
    driver: Driver,
    reference: Reference,
    clients: Clients,
    coverage: &'a mut Coverage,
}

/// A request that the broker has, and what it has said to it so far.
struct Asked<'a> {
    op: &'a Op,
    request: Request,
    waiting: Waiting,
    answered: Option<Answered>,
    /// Whether the answer was compared.
    is_settled: bool,
}

/// Takes these steps on a new broker.
pub(super) fn run(steps: &[Step], planted: Planted, coverage: &mut Coverage) -> Result<(), Difference> {
    run_on(|| Driver::new(planted, BEGIN), steps, coverage)
}

/// Takes these steps through a session, beside strangers that do what chance says. The disk has room.
pub(super) fn run_on_a_wire(steps: &[Step], strange: Rng, coverage: &mut Coverage) -> Result<(), Difference> {
    let steps: Vec<_> = steps.iter().filter(|step| !matches!(step, Step::Disk(_))).cloned().collect();
    run_on(|| Driver::on_a_wire(BEGIN, strange), &steps, coverage)
}

fn run_on(
    open: impl FnOnce() -> Result<Driver, String>,
    steps: &[Step],
    coverage: &mut Coverage,
) -> Result<(), Difference> {
    let mut at = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let driver = open()?;
        let (reference, clients) = (Reference::new(BEGIN), Clients::default());
        let mut run = Run { driver, reference, clients, coverage };
        for (number, step) in steps.iter().enumerate() {
            at = number;
            run.step(step)?;
            let is_restart = matches!(step, Step::Restart { .. });
            if is_restart || number % COMPARE_EVERY == COMPARE_EVERY - 1 || number + 1 == steps.len() {
                run.compare_all()?;
            }
        }
        run.coverage.count_files(run.driver.disk.files().keys());
        run.driver.end()
    }));
    let panicked = |panic| Err(format!("it panicked: {}", words_of(panic)));
    outcome.unwrap_or_else(panicked).map_err(|what| Difference { step: at, what })
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        self.coverage.count_step(step);
        match step {
            Step::Group(ops) => return self.group(ops),
            Step::Pass { time, set_back } => self.pass(*time, *set_back),
            Step::Disk(free) => {
                self.reference.free = *free;
                self.driver.set_free(*free);
            }
            Step::Restart { killed } => {
                self.coverage.count_files(self.driver.disk.files().keys());
                self.driver.restart(*killed)?;
            }
        }
        self.turn()
    }

    fn pass(&mut self, time: Duration, set_back: Duration) {
        if time > Duration::from_secs(60) {
            // Signs of life are not noted on a full disk, which is no matter for minutes.
            self.reference.free = Free::Plenty;
            self.driver.set_free(Free::Plenty);
        }
        let us = |time: Duration| u64::try_from(time.as_micros()).expect("days");
        let now = Timestamp(self.reference.now.0 + us(time) - us(set_back));
        self.reference.now = now;
        self.driver.pass(time, now);
    }

    /// Operations that arrive before the writer works on any of them.
    fn group(&mut self, ops: &[Op]) -> Result<(), String> {
        let mut guess = self.reference.clone();
        let mut all = Vec::new();
        for op in ops {
            let Some(request) = self.driver.fit(self.clients.resolve(op, &guess)) else { continue };
            // What comes behind it is resolved as if it were granted.
            drop(guess.decide(&self.reference, &request, None));
            let mut waiting = self.driver.ask(request.clone())?;
            let answered = waiting.as_mut().now_or_never();
            all.push(Asked { op, request, waiting, answered, is_settled: false });
        }
        for _ in 0..MAX_TURNS {
            let durable = self.reference.clone();
            self.driver.step(&durable)?;
            for asked in all.iter_mut().filter(|asked| asked.answered.is_none()) {
                asked.answered = asked.waiting.as_mut().now_or_never();
            }
            let expected = self.decide(&all, &durable);
            self.follow()?;
            for (asked, expected) in all.iter_mut().filter(|asked| !asked.is_settled).zip(expected) {
                asked.is_settled = self.settle(asked, expected)?;
                if !asked.is_settled {
                    self.coverage.note("dequeue: in a second turn");
                }
            }
            if all.iter().all(|asked| asked.is_settled) {
                return Ok(());
            }
        }
        Err("a dequeue is not decided".to_owned())
    }

    /// What the answers have to be that were not compared yet.
    fn decide(&mut self, all: &[Asked<'_>], durable: &Reference) -> Vec<Expected> {
        let open = all.iter().filter(|asked| !asked.is_settled);
        open.map(|asked| self.reference.decide(durable, &asked.request, asked.answered.as_ref())).collect()
    }

    /// Compares an answer. `false`: another turn has to decide it.
    fn settle(&mut self, asked: &Asked<'_>, expected: Expected) -> Result<bool, String> {
        let expected = match expected {
            Expected::Now(expected) => Some(expected),
            Expected::Repeated { dequeue, first, next, tail } => {
                Some(self.reference.repeated(dequeue, first, next, tail))
            }
            Expected::LateCursor { dequeue, tail } => self.reference.late(dequeue, tail, asked.answered.as_ref()),
        };
        let shown = |decided: Decided| match decided {
            Ok(answer) => Ok(self.driver.shown(&asked.request, answer)),
            Err(error) => Err(error.into()),
        };
        let answer = expected.clone().map(shown);
        if asked.answered != answer {
            let Asked { op, request, answered, .. } = asked;
            return Err(format!(
                "{op:?}, which is {request}\n  was answered  {answered:?}\n  the reference {answer:?}\n  (None: not in this turn)"
            ));
        }
        if let Some(answered) = &expected {
            self.clients.learn(asked.op, answered);
            self.coverage.count(&asked.request, answered);
        }
        Ok(expected.is_some())
    }

    /// A turn of the writer with nothing to do but what time asks for.
    fn turn(&mut self) -> Result<(), String> {
        let durable = self.reference.clone();
        self.driver.step(&durable)?;
        self.follow()
    }

    /// Looks at what the broker removed by itself.
    fn follow(&mut self) -> Result<(), String> {
        if self.reference.may_forget() {
            let producers: HashSet<_> = self.driver.store().producers().into_iter().map(|known| known.id).collect();
            let before = self.reference.producers().len();
            let broker = self.driver.broker();
            self.reference.follow_expiry(|id| producers.contains(&id), |id| broker.consumer(id).is_ok())?;
            self.coverage.count_expired(before - self.reference.producers().len());
        }
        let names: Vec<_> = self.reference.topic_names().cloned().collect();
        for name in names {
            let topic = self.driver.broker().topic(name.as_str()).map_err(|error| error.to_string())?;
            let (before, head) = (self.reference.ends(&name), topic.range().head);
            self.reference.follow_head(&name, head)?;
            self.coverage.count_head(before != self.reference.ends(&name));
        }
        Ok(())
    }

    /// Everything that can be seen of the broker is what the reference has.
    fn compare_all(&self) -> Result<(), String> {
        let broker = self.driver.broker();
        let names: Vec<_> = self.reference.topic_names().cloned().collect();
        let listed: Vec<_> = broker.topics("", usize::MAX).0.iter().map(|topic| topic.name.clone()).collect();
        same("topics", &listed, &names)?;
        for name in &names {
            let topic = broker.topic(name.as_str()).map_err(|error| error.to_string())?;
            let (range, batches) = self.reference.contents(name);
            same("range", &topic.range(), &range)?;
            same("batches", &self.driver.read_all(name)?, &batches)?;
            let mut consumers = topic.list_consumers(usize::MAX);
            consumers.sort_by_key(|consumer| consumer.id);
            same("consumers", &consumers, &self.reference.consumers(name))?;
            same("id", &Some(topic.id), &self.reference.id_of(name))?;
        }
        let mut producers = self.driver.store().producers();
        producers.sort_by_key(|producer| producer.id);
        same("producers", &producers, &self.reference.producers())?;
        let status = broker.status();
        same("counts", &(status.topics, status.producers), &(names.len(), producers.len()))
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, broker: &T, reference: &T) -> Result<(), String> {
    match broker == reference {
        true => Ok(()),
        false => Err(format!("{what}\n  of the broker are    {broker:?}\n  of the reference are {reference:?}")),
    }
}
