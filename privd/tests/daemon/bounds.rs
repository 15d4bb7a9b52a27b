//! What sandboxes may use of the network: the operator's word, whatever a gateway makes of templates.

use warder_wire::gateway_priv::{Answer, Ask};
use warder_wire::{Bounds, SandboxId};

use crate::cast::{gateway, lease};
use crate::id;
use crate::pause::{done, start, stop};
use crate::stage::{Instance, Part};
use crate::stored::{remove_template, taken};

const CLOSED: Bounds = Bounds {
    airgapped: true,
    upload: 5_000_000,
    ..Bounds::DEFAULT
};

/// A sandbox of a template, up to its storage.
fn stored(stage: &mut Instance, n: u8, template: &str) -> SandboxId {
    let sandbox = id(n);
    gateway(stage, lease(&sandbox, "namespace", template, 600_000)).expect("opens");
    stage.clone_storage(&sandbox, template).expect("clones");
    sandbox
}

/// A captured gateway wants what an air-gapped template holds in a sandbox that reaches the network.
pub(crate) fn no_snapshot_leads_out_of_an_air_gap() {
    let mut stage = Instance::start(
        "on_stop remove\ntemplate_network base airgap upload 5M\ntemplate_network free upload 9G",
    );
    let a = stored(&mut stage, 1, "base");
    assert_eq!(stage.bounds(&a), CLOSED);
    let bare = stored(&mut stage, 2, "bare");
    assert_eq!(stage.bounds(&bare), Bounds::DEFAULT);
    let end = |stage: &mut Instance, sandbox: SandboxId| {
        gateway(stage, Ask::LeaseEnd { sandbox }).expect("ends");
    };

    // Through a snapshot, under a name the operator gives more to, and through a snapshot of that.
    assert_eq!(taken(&mut stage, 10, &a, "free"), Ok(()));
    let b = stored(&mut stage, 3, "free");
    assert_eq!(stage.bounds(&b), CLOSED);
    assert_eq!(taken(&mut stage, 10, &b, "second"), Ok(()));
    end(&mut stage, a);
    // Its parents are gone.
    assert_eq!(remove_template(&mut stage, "free"), Ok(()));
    let c = stored(&mut stage, 4, "second");
    assert_eq!(stage.bounds(&c), CLOSED);
    assert_eq!(taken(&mut stage, 11, &b, "third"), Ok(()));

    // The template becomes another one between the lease and the clone.
    assert_eq!(taken(&mut stage, 10, &bare, "swapped"), Ok(()));
    let d = id(5);
    let opened = lease(&d, "namespace", "swapped", 600_000);
    gateway(&mut stage, opened).expect("opens");
    assert_eq!(stage.bounds(&d), Bounds::DEFAULT);
    assert_eq!(remove_template(&mut stage, "swapped"), Ok(()));
    assert_eq!(taken(&mut stage, 12, &b, "swapped"), Ok(()));
    stage.clone_storage(&d, "swapped").expect("clones");
    stage.until("netd knows before there is a slot", |stage| {
        stage.bounds(&d) == CLOSED
    });

    // A new netd and a new privd are told the same, though all the templates are gone.
    for name in ["second", "third", "swapped"] {
        assert_eq!(remove_template(&mut stage, name), Ok(()));
    }
    stage.create_cell(&d);
    let told = [&d, &bare].map(|sandbox| stage.times_told(sandbox));
    stage.kill(Part::Net);
    stage.take_net();
    stage.until("both are told again", |stage| {
        stage.times_told(&d) > told[0] && stage.times_told(&bare) > told[1]
    });
    assert_eq!(stage.bounds(&d), CLOSED);
    assert_eq!(stage.bounds(&bare), Bounds::DEFAULT);
    let told = stage.times_told(&d);
    stage.kill_privd();
    stage.start_privd();
    stage.until("it is told again", |stage| stage.times_told(&d) > told);
    assert_eq!(stage.bounds(&d), CLOSED);
    stage.stop_clean();
}

/// A pause without memory gives the slot back: the one that the sandbox wakes with is within the same bounds.
pub(crate) fn no_pause_leads_out_of_an_air_gap() {
    let mut stage = Instance::start("on_stop remove\ntemplate_network base airgap upload 5M");
    let a = id(1);
    stage.create(&a);
    assert_eq!(stage.bounds(&a), CLOSED);
    let told = stage.times_told(&a);
    done(&mut stage, stop(10, &a));
    stage.until("netd is told that the lease lives on", |stage| {
        stage.times_told(&a) > told
    });
    assert_eq!(stage.bounds(&a), CLOSED);
    done(&mut stage, start(11, &a));
    stage.greet(&a);
    assert_eq!(stage.bounds(&a), CLOSED);
    stage.stop_clean();
}

pub(crate) fn bounds_are_said_again_when_the_configuration_changes() {
    let mut stage = Instance::start("on_stop remove");
    let (a, b) = (id(1), id(2));
    stage.create(&a);
    gateway(&mut stage, lease(&b, "namespace", "bare", 60_000)).expect("opens");
    assert_eq!(stage.bounds(&a), Bounds::DEFAULT);
    let reload = |stage: &mut Instance| match gateway(stage, Ask::Reload) {
        Ok((Answer::Reloaded { networks, .. }, _)) => networks,
        other => panic!("{other:?}"),
    };
    stage.configure("on_stop remove\ntemplate_network base airgap upload 5M");
    assert_eq!(reload(&mut stage), None);
    stage.until("it is told", |stage| stage.bounds(&a) == CLOSED);
    assert_eq!((stage.times_told(&a), stage.times_told(&b)), (2, 1));
    // Nothing new, then something wrong: what holds goes on holding, and the gateway sees no line of the file.
    assert_eq!(reload(&mut stage), None);
    stage.configure("on_stop remove\ntemplate_network base airgap secret");
    let fault = reload(&mut stage).expect("refused");
    assert!(!fault.detail.contains("secret"), "{fault}");
    assert!(stage.log().contains("line 10: `secret`"), "{}", stage.log());
    stage.configure("on_stop keep\ntemplate_network bare flows 7");
    stage.hang_up();
    stage.until("the other is told", |stage| stage.bounds(&b).flows == 7);
    assert_eq!(stage.bounds(&a), Bounds::DEFAULT);
    assert!(stage.log().contains("next start of privd"));
    stage.stop_clean();
}
