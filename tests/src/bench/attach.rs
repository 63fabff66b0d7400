//! Attach and detach of moved cards, alone and while others move links.

use std::time::Duration;

use anyhow::Error;
use futures::future::join_all;
use network_driver_common::model::IfName;

use super::floor::{Floor, card_name};
use super::lease::Lease;
use super::movers::Movers;
use super::report::{Budget, Report, Row, Unit};
use super::sample::{Samples, timed};
use super::{Options, breathe, progress, setup};
use crate::cluster::Cluster;

/// Cards of the pod that has many.
const MANY: usize = 8;
/// Threads that move links under load.
const MOVERS: usize = 3;

/// Pods that start at the same moment.
const TOGETHER: usize = 4;

/// What the floors are called in the report.
const MOVE: &str = "raw move";
const PATTERN: &str = "7-request pattern";

pub(super) async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let names = (0..=MANY)
        .map(card_name)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let names: Vec<&[u8]> = names.iter().map(IfName::as_bytes).collect();
    let cluster = Cluster::start(setup(options).nics(&names)).await?;
    let mut floor = Floor::new(MANY)?;

    progress("attach and detach");
    let mut one = Lease::new(&cluster, "one", MANY, 1).await?;
    alone(options.rounds, 1, &mut one, &mut floor, report).await?;
    let mut many = Lease::new(&cluster, "many", 0, MANY).await?;
    alone(options.share(5), MANY, &mut many, &mut floor, report).await?;

    progress("attach while others move links");
    let movers = Movers::new(MOVERS)?;
    let mut crowd = Crowd { movers, floor };
    crowd
        .run(options.share(2), 1, &mut one, 0.8, report)
        .await?;
    crowd
        .run(options.share(5), MANY, &mut many, 0.75, report)
        .await?;
    one.end().await?;
    many.end().await?;

    progress("attaches at once");
    together(options.share(2), &cluster, &mut crowd.floor, report).await
}

/// Pods that start at the same moment, with a card each.
async fn together(
    rounds: u32,
    cluster: &Cluster,
    floor: &mut Floor,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut leases = Vec::new();
    for number in 0..TOGETHER {
        leases.push(Lease::new(cluster, &format!("at-once-{number}"), number, 1).await?);
    }
    let (mut each, mut last, mut raw) =
        (Samples::default(), Samples::default(), Samples::default());
    for round in 0..rounds {
        let attached = join_all(leases.iter_mut().map(Lease::attach)).await;
        let mut slowest = Duration::ZERO;
        for took in attached {
            let took = took.map_err(Error::msg)?;
            each.add(took);
            slowest = slowest.max(took);
        }
        last.add(slowest);
        for lease in &mut leases {
            lease.holds(1)?;
            lease.detach().await?;
        }
        breathe(round).await;
        raw.add(timed(|| floor.attach(TOGETHER))?);
        floor.detach(TOGETHER)?;
        breathe(round).await;
    }
    let what = format!("attach, 1 card, {TOGETHER} pods at once");
    report.add(Row::new(what.clone(), Unit::Millis, each));
    let row = Row::new(format!("{what}: the last"), Unit::Millis, last).against(MOVE, &raw);
    report.add(row.budget(Budget::Ratio(1.05)));
    for lease in leases {
        lease.end().await?;
    }
    Ok(())
}

/// Attach and detach with nobody else at work.
async fn alone(
    rounds: u32,
    cards: usize,
    lease: &mut Lease<'_>,
    floor: &mut Floor,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut attach, mut detach) = (Samples::default(), Samples::default());
    let (mut move_in, mut move_out) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        attach.add(lease.attach().await.map_err(Error::msg)?);
        lease.holds(cards)?;
        breathe(round).await;
        move_in.add(timed(|| floor.attach(cards))?);
        breathe(round).await;
        detach.add(lease.detach().await?);
        breathe(round).await;
        move_out.add(timed(|| floor.detach(cards))?);
        breathe(round).await;
    }
    let what = label("attach", cards);
    let row = Row::new(what, Unit::Millis, attach).against(MOVE, &move_in);
    report.add(row.budget(Budget::Ratio(1.05)));
    let row = Row::new(label("detach", cards), Unit::Millis, detach).against(MOVE, &move_out);
    report.add(row.budget(Budget::Ratio(1.05)));
    Ok(())
}

fn label(what: &str, cards: usize) -> String {
    let plural = if cards == 1 { "" } else { "s" };
    format!("{what}, {cards} card{plural}")
}

/// A node on which others move links, without pause while something is measured.
struct Crowd {
    movers: Movers,
    floor: Floor,
}

impl Crowd {
    async fn run(
        &mut self,
        rounds: u32,
        cards: usize,
        lease: &mut Lease<'_>,
        most: f64,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (mut attach, mut late) = (Samples::default(), Vec::new());
        let (mut raw, mut pattern) = (Samples::default(), Samples::default());
        for round in 0..rounds {
            self.movers.go().await;
            let answer = lease.attach().await;
            self.movers.rest();
            late.push(f64::from(u8::from(answer.is_err())));
            if let Ok(took) = answer {
                attach.add(took);
                lease.holds(cards)?;
                lease.detach().await?;
            }
            breathe(round).await;

            self.movers.go().await;
            pattern.add(timed(|| self.floor.attach_step_by_step(cards))?);
            self.movers.rest();
            self.floor.detach(cards)?;
            breathe(round).await;

            self.movers.go().await;
            raw.add(timed(|| self.floor.attach(cards))?);
            self.movers.rest();
            self.floor.detach(cards)?;
            breathe(round).await;
        }
        let what = format!("{}, {MOVERS} movers", label("attach", cards));
        let row = Row::new(what.clone(), Unit::Millis, attach.clone()).against(PATTERN, &pattern);
        report.add(row.budget(Budget::Ratio(most)));
        let row = Row::new(what.clone(), Unit::Millis, attach).against(MOVE, &raw);
        report.add(row);
        let what = format!("{what}: refused as late");
        let row = Row::new(what, Unit::Count, Samples::total(&late));
        report.add(row.budget(Budget::Value(0.0)));
        Ok(())
    }
}
