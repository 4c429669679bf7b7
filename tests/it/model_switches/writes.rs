//! Looking at the state after every write.

use std::sync::{Arc, Mutex};

use super::{ACCOUNT, Cut, Model, Rule, TRUST, Trouble, Visible, create, get, iam_of, model_and_iam, outcome};

type Seen = Arc<Mutex<Vec<String>>>;

/// Notes every write, and how many roles there are then.
fn watched(model: &Model) -> Seen {
    let (seen, inside) = (Seen::default(), model.clone());
    model.on_write({
        let seen = seen.clone();
        move |write| {
            let roles = inside.roles(&write.account);
            let tagged = roles.iter().filter(|role| !role.tags.is_empty()).count();
            let line = format!("{} {} {}: {} {tagged}", write.op, write.target, write.outcome, roles.len());
            seen.lock().expect("no panic").push(line);
        }
    });
    seen
}

fn taken(seen: &Seen) -> Vec<String> {
    std::mem::take(&mut seen.lock().expect("no panic"))
}

#[tokio::test(start_paused = true)]
async fn every_write_that_took_effect_is_seen_at_once() {
    let (model, iam) = model_and_iam();
    let seen = watched(&model);
    create(&iam, "a").await;
    get(&iam, "a").await;
    create(&iam, "a").await;
    let tag = aws_sdk_iam::types::Tag::builder().key("k").value("v").build().expect("a tag");
    assert_eq!(outcome(iam.tag_role().role_name("a").tags(tag).send().await), "ok");
    model.put_role(ACCOUNT, "by-the-test", TRUST, Visible::AtOnce);
    assert_eq!(taken(&seen), ["iam:CreateRole a ok: 1 0", "iam:TagRole a ok: 1 1"]);

    for (trouble, lines) in [
        (Trouble::LoseRequest, vec![]),
        (Trouble::Throttle, vec![]),
        (Trouble::LoseAnswer, vec!["iam:CreateRole b lost: 3 1"]),
    ] {
        model.add_rule(Rule::times("iam:CreateRole", 1, trouble));
        assert_ne!(create(&iam, "b").await, "ok");
        assert_eq!(taken(&seen), lines);
    }
    model.on_call("iam:CreateRole", 1, {
        let inside = model.clone();
        move || assert!(inside.delete_role(ACCOUNT, "c", Visible::AtOnce))
    });
    create(&iam, "c").await;
    assert_eq!(taken(&seen), ["iam:CreateRole c ok: 4 1"], "before anything else happens");
    model.clear_on_write();
    create(&iam, "d").await;
    assert!(taken(&seen).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_last_write_of_a_dead_caller_is_seen_if_it_took_effect() {
    for takes_effect in [true, false] {
        let (model, iam) = model_and_iam();
        let seen = watched(&model);
        model.cut_after(Cut { after: 1, writes_only: true, takes_effect });
        tokio::select! {
            _ = create(&iam, "a") => panic!("the caller lives on"),
            () = model.until_cut() => {}
        }
        let lines: &[&str] = if takes_effect { &["iam:CreateRole a lost: 1 0"] } else { &[] };
        assert_eq!(taken(&seen), lines);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_comes_between_another_and_its_being_seen() {
    let model = Model::new(1);
    let seen = watched(&model);
    let calls = (0..40).map(|n| {
        let iam = iam_of(&model, ACCOUNT);
        tokio::spawn(async move { create(&iam, &format!("r{n}")).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.expect("a call"), "ok");
    }
    let counts: Vec<String> = taken(&seen).iter().map(|line| line.rsplit(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(counts, (1..=40).map(|n| n.to_string()).collect::<Vec<_>>());
}
