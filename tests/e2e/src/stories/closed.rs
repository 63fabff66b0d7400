//! The gate, as a client of CRI finds it: shut, whatever is wrong with the hook. The kubelet is held meanwhile and the
//! story stands in for it, so that nobody asks twice, or brings the hook back.

mod tally;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::ResourceClaim;
use serde_json::json;

use crate::case::{Case, SOON, contains, uid};
use crate::cri::{Owner, Sandbox, remove_sandboxes};
use crate::kubelet::prepare;
use crate::nic::{Home, Nic};
use crate::node::{Daemon, Held, ping_from_outside, process, run, signal};
use crate::pod::NewPod;
use crate::wait::{Seen, until};
use crate::{numbers, rounds};

use tally::{Fate, Tally};

/// The hook's program.
const HOOK: &str = "/nri-hook";
/// The claim's interface in the pod.
const INTERFACE: &str = "net1";
/// How long a slow hook hangs, milliseconds, one round after another. The runtime waits for two seconds, and does other
/// things before it begins to.
const SLOW: [u64; 8] = [1200, 2200, 2600, 1800, 2400, 2100, 2800, 1500];

/// Waits until a file ($0) is gone, counts to a number ($2), and kills a process ($1): all by the shell itself, as another
/// program would come milliseconds late, when the hook is done.
const KILL: &str =
    "while [ -e $0 ]; do :; done; i=0; while [ $i -lt $2 ]; do i=$((i + 1)); done; kill -s KILL $1";

/// What is wrong with the hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hook {
    /// It hangs all the while.
    Stopped,
    /// It hangs while the sandbox is made, and goes on sooner or later.
    Slow,
    /// It is dead all the while.
    Absent,
    /// It is killed while it answers RunPodSandbox: the NIC has left home.
    KilledAmid,
    /// It is killed between the sandbox and the container.
    Killed,
    /// It was killed when an earlier sandbox of the pod had the NIC: the claim's CDI id may still be defined.
    KilledBefore,
}

impl Hook {
    fn what(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Slow => "slow",
            Self::Absent => "absent",
            Self::KilledAmid => "killed in RunPodSandbox",
            Self::Killed => "killed after RunPodSandbox",
            Self::KilledBefore => "absent since an earlier sandbox",
        }
    }
}

/// A container of a claim is refused, or has the claim's interface from its start; a pod without a claim runs. Then the
/// kubelet goes on, and the same pod runs with its NIC.
pub(super) async fn a_cri_client_finds_the_gate_closed(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    let parameters = json!({"interface": {"name": INTERFACE, "addresses": [nic.address]}});
    let wants = case.wants().request("nic").configured("nic", parameters);
    let claim = case.claim("mine", &wants).await?;
    let mut client = Client {
        case,
        nic,
        home,
        claim,
        round: 0,
        tallies: BTreeMap::new(),
    };
    let played = client.play(rounds::rounds(3)).await;
    for (hook, tally) in &client.tallies {
        numbers::line(tally.line(hook.what()));
    }
    let mut tallies = client.tallies.iter();
    let checked = tallies.try_for_each(|(hook, tally)| tally.check(hook.what()));
    checked.and(played)
}

/// Who stands in for the kubelet.
struct Client<'a> {
    case: &'a Case,
    nic: Nic,
    home: Home,
    claim: ResourceClaim,
    /// Number of the round, of all.
    round: u32,
    tallies: BTreeMap<Hook, Tally>,
}

impl Client<'_> {
    async fn play(&mut self, rounds: u32) -> Result<()> {
        let first = [Hook::Stopped, Hook::Slow, Hook::Absent];
        self.scene(&first.map(|hook| (hook, rounds))).await?;
        // Only the kubelet brings a dead hook back.
        let deaths = [Hook::Killed, Hook::KilledAmid].into_iter().cycle();
        for (death, _) in deaths.zip(0..rounds) {
            self.scene(&[(death, 1), (Hook::KilledBefore, 1)]).await?;
            // Another pod of the driver, so that the kubelet does not wait longer each time before it restarts the hook.
            self.case.driver.delete_pod().await?;
            self.case.driver.ready().await?;
        }
        Ok(())
    }

    /// A pod is bound while the kubelet is held; after all rounds the kubelet goes on and starts the same pod.
    async fn scene(&mut self, acts: &[(Hook, u32)]) -> Result<()> {
        let kubelet = Daemon::Kubelet.hold()?;
        let pod = NewPod::named("web").claim("mine").tolerates_all();
        self.case.create(&pod).await?;
        let pod = self.bound("web").await?;
        let acted = self.act(&pod, acts).await;
        let removed = remove_sandboxes(&self.case.namespace).await;
        drop(kubelet);
        acted.and(removed)?;
        until("the hook is back", SOON * 2, async || {
            process(HOOK).map(Seen::Yes)
        })
        .await?;
        self.case.driver.ready().await?;
        self.case.runs("web").await?;
        self.case.pings("web", &self.nic).await?;
        self.case.delete("web").await?;
        self.case
            .all_is_as_before(&[(&self.nic, self.home.clone())])
            .await?;
        node_is_at_rest(self.case).await
    }

    async fn act(&mut self, pod: &Pod, acts: &[(Hook, u32)]) -> Result<()> {
        let ids = self.hook_works().await?;
        for &(hook, rounds) in acts {
            if hook == Hook::Absent {
                kill_hook().await?;
                self.prepare_is_refused().await?;
            }
            for _ in 0..rounds {
                let round = self.round(hook, pod, &ids).await;
                round.with_context(|| format!("hook {}, round {}", hook.what(), self.round))?;
            }
        }
        Ok(())
    }

    async fn round(&mut self, hook: Hook, pod: &Pod, ids: &[String]) -> Result<()> {
        self.round = self.round.saturating_add(1);
        let owner = self.owner("web", uid(pod)?);
        let hangs = matches!(hook, Hook::Stopped | Hook::Slow);
        let mut held = hangs.then(|| Held::new(&process(HOOK)?)).transpose()?;
        let sandbox = match hook {
            Hook::Slow => self.slowly(&owner, held.take()).await,
            Hook::KilledAmid => self.killing(&owner).await?,
            _ => Sandbox::run(&owner, self.round).await,
        };
        if hook == Hook::Killed {
            kill_hook().await?;
        }
        let fate = self.fate(sandbox, ids).await?;
        let plain = self.plain().await;
        if matches!(hook, Hook::KilledAmid | Hook::Killed) {
            self.nic.fall_home(&self.home)?;
        }
        remove_sandboxes(&self.case.namespace).await?;
        drop(held);
        self.tallies.entry(hook).or_default().count(fate, plain)?;
        if hangs {
            self.hook_works().await?;
        }
        if matches!(hook, Hook::Stopped | Hook::Slow | Hook::Absent) {
            self.nic.is_home_as(&self.home).await?;
        }
        Ok(())
    }

    /// A sandbox that is made while the hook hangs, which goes on after a while.
    async fn slowly(&self, owner: &Owner, held: Option<Held>) -> Result<Sandbox> {
        let hang = Duration::from_millis(SLOW[self.rounds_of(Hook::Slow) % SLOW.len()]);
        let goes_on = async {
            tokio::time::sleep(hang).await;
            drop(held);
        };
        let (sandbox, ()) = tokio::join!(Sandbox::run(owner, self.round), goes_on);
        sandbox
    }

    /// A sandbox that is made while the hook is killed, at one moment or another after it has taken the NIC from home.
    async fn killing(&self, owner: &Owner) -> Result<Result<Sandbox>> {
        let at_home = format!("/sys/class/net/{}", self.nic.name);
        let moment = (self.rounds_of(Hook::KilledAmid) * 3 % 20 * 100).to_string();
        let hook = process(HOOK)?;
        let kills = tokio::task::spawn_blocking(move || {
            let limit = SOON.as_secs().to_string();
            let kill = ["sh", "-c", KILL, &at_home, &hook, &moment];
            run(
                "nice",
                &[&["-n", "-20", "timeout", &*limit][..], &kill].concat(),
            )
        });
        let (sandbox, killed) = tokio::join!(Sandbox::run(owner, self.round), kills);
        killed??;
        hook_is_dead().await?;
        Ok(sandbox)
    }

    fn rounds_of(&self, hook: Hook) -> usize {
        self.tallies.get(&hook).map_or(0, Tally::rounds)
    }

    /// What becomes of the claim's container.
    async fn fate(&self, sandbox: Result<Sandbox>, ids: &[String]) -> Result<Fate> {
        let witness = format!("test -e /sys/class/net/{INTERFACE}");
        let started = match sandbox {
            Ok(sandbox) => sandbox.start(&witness, ids).await,
            Err(refused) => Err(refused),
        };
        let container = match started {
            Ok(container) => container,
            Err(refused) => return Ok(Fate::Refused(format!("{refused:#}"))),
        };
        let bare = |why: &str| Fate::Bare(format!("round {}: {why}", self.round));
        if !container.has_begun().await? {
            return Ok(bare(&format!("started without {INTERFACE}")));
        }
        let link = container.exec(&["ip", "addr", "show", "dev", INTERFACE]);
        let link = link.await;
        let works = link.and_then(|link| contains(&link, &self.nic.address));
        let works = works.and_then(|()| ping_from_outside(self.nic.ip()));
        Ok(works.map_or_else(|error| bare(&format!("{error:#}")), |()| Fate::Whole))
    }

    /// A pod that names no claim.
    async fn plain(&self) -> Result<()> {
        let uid = format!("00000000-0000-4000-8000-{:012}", self.round);
        let sandbox = Sandbox::run(&self.owner("plain", &uid), 0).await?;
        let container = sandbox.start("true", &[]).await?;
        ensure!(container.has_begun().await?, "its container has ended");
        Ok(())
    }

    fn owner(&self, name: &str, uid: &str) -> Owner {
        Owner {
            namespace: self.case.namespace.clone(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }

    /// Waits until the driver prepares the claim, as it does only with a hook that the runtime knows: five times in a row,
    /// for it may take the driver a moment to find out.
    async fn hook_works(&self) -> Result<Vec<String>> {
        let mut times = 0;
        until("the claim can be prepared", SOON * 2, async || {
            let prepared = prepare(&self.claim).await;
            times = if prepared.is_ok() { times + 1 } else { 0 };
            let ids = prepared?;
            Ok(if times == 5 {
                Seen::Yes(ids)
            } else {
                Seen::Not(format!("{times} times"))
            })
        })
        .await
    }

    async fn prepare_is_refused(&self) -> Result<()> {
        until("Prepare is refused", SOON, async || {
            let refused = prepare(&self.claim).await.err();
            let refused = refused.map(|error| format!("{error:#}"));
            let by_name = refused.as_ref().is_some_and(|it| it.contains("hook"));
            Ok(Seen::when(by_name, format!("{refused:?}")))
        })
        .await
    }

    async fn bound(&self, name: &str) -> Result<Pod> {
        until(&format!("{name} bound to the node"), SOON, async || {
            let pod = self.case.api::<Pod>().get(name).await?;
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            Ok(if node.is_some() {
                Seen::Yes(pod)
            } else {
                Seen::Not("no node".to_owned())
            })
        })
        .await
    }
}

async fn kill_hook() -> Result<()> {
    signal("KILL", &process(HOOK)?)?;
    hook_is_dead().await
}

async fn hook_is_dead() -> Result<()> {
    until("the hook is dead", SOON, async || {
        Ok(Seen::when(process(HOOK).is_err(), "it lives"))
    })
    .await
}

/// Waits until the node takes pods again: it was away for a while.
async fn node_is_at_rest(case: &Case) -> Result<()> {
    until("the node without a taint", SOON * 2, async || {
        let taints = case.cluster.node().await?.spec.and_then(|spec| spec.taints);
        let taints = taints.unwrap_or_default();
        Ok(Seen::when(taints.is_empty(), format!("{taints:?}")))
    })
    .await
}
