//! The model of AWS against the emulators: the same calls of the SDK, the same parsed answers, error codes and statuses.
//! Where an emulator is known to do otherwise than AWS, a table says so, and why; the model goes by AWS's documentation.

mod iam;
mod ministack;
mod s3;

use std::fmt::Debug;

use aws_config::retry::RetryConfig;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::model::{ACCOUNT, Model};
use crate::support::aws_state::{REGION, clients_of};
use crate::support::{Emulators, Proxy, block_on};

/// An emulator does otherwise than AWS: in which situation, and why.
struct Difference {
    situation: &'static str,
    why: &'static str,
}

/// What came of each situation, in words.
#[derive(Default)]
struct Transcript(Vec<(&'static str, String)>);

impl Transcript {
    /// Notes an answer as `show` puts it, or an error by code and status. The answer itself goes back.
    fn note<T, E>(
        &mut self,
        situation: &'static str,
        result: Result<T, SdkError<E, HttpResponse>>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T>
    where
        E: ProvideErrorMetadata + Debug,
    {
        let (line, answer) = match result {
            Ok(answer) => (show(&answer), Some(answer)),
            Err(error) => {
                let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
                let code = error.as_service_error().and_then(|error| error.code()).unwrap_or("no code");
                (format!("{code} {status}"), None)
            }
        };
        self.0.push((situation, line));
        answer
    }

    /// Notes that a call went through, or its error.
    fn done<T, E>(&mut self, situation: &'static str, result: Result<T, SdkError<E, HttpResponse>>)
    where
        E: ProvideErrorMetadata + Debug,
    {
        self.note(situation, result, |_| "done".to_owned());
    }
}

/// Clients that do not retry.
struct Clients {
    iam: aws_sdk_iam::Client,
    sts: aws_sdk_sts::Client,
    s3: aws_sdk_s3::Client,
}

fn of_model(model: &Model) -> Clients {
    let config = model.sdk_config(ACCOUNT, REGION).into_builder().retry_config(RetryConfig::disabled()).build();
    Clients {
        iam: aws_sdk_iam::Client::new(&config),
        sts: aws_sdk_sts::Client::new(&config),
        s3: aws_sdk_s3::Client::new(&config),
    }
}

fn of_emulators(proxy: &Proxy) -> Clients {
    let (iam, sts, s3) = clients_of(proxy);
    let retry = RetryConfig::disabled;
    Clients {
        iam: aws_sdk_iam::Client::from_conf(iam.config().to_builder().retry_config(retry()).build()),
        sts: aws_sdk_sts::Client::from_conf(sts.config().to_builder().retry_config(retry()).build()),
        s3: aws_sdk_s3::Client::from_conf(s3.config().to_builder().retry_config(retry()).build()),
    }
}

/// Holds two transcripts against each other: they differ where the table says, and nowhere else.
fn compare(model: &Transcript, emulator: &Transcript, differences: &[Difference]) {
    let known = |situation: &str| differences.iter().find(|difference| difference.situation == situation);
    let mut wrong = Vec::new();
    for ((situation, ours), (_, theirs)) in model.0.iter().zip(&emulator.0) {
        match (ours == theirs, known(situation)) {
            (false, None) => wrong.push(format!("{situation}\n     model: {ours}\n  emulator: {theirs}")),
            (true, Some(difference)) => {
                wrong.push(format!("{situation}: they agree ({ours}), but the table says: {}", difference.why));
            }
            _ => {}
        }
    }
    let situations: Vec<_> = model.0.iter().map(|(situation, _)| *situation).collect();
    for difference in differences.iter().filter(|difference| !situations.contains(&difference.situation)) {
        wrong.push(format!("{}: the table has a situation that is not tried", difference.situation));
    }
    let repeated = situations.iter().enumerate().filter(|(n, situation)| situations[..*n].contains(situation));
    wrong.extend(repeated.map(|(_, situation)| format!("{situation}: tried twice under one name")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert_eq!(model.0.len(), emulator.0.len());
}

#[test]
fn iam_and_sts_agree_with_moto() {
    let (model, proxy) = (Model::new(11), Proxy::start(Emulators::shared()));
    let (ours, theirs) = (of_model(&model), of_emulators(&proxy));
    let (ours, theirs) = block_on(async { (iam::all(&ours).await, iam::all(&theirs).await) });
    assert!(ours.0.len() > 60, "{} situations", ours.0.len());
    compare(&ours, &theirs, iam::DIFFERENCES);
}

#[test]
fn s3_agrees_with_moto() {
    let (model, proxy) = (Model::new(13), Proxy::start_before(Emulators::shared().moto_url()));
    let (ours, theirs) = (of_model(&model), of_emulators(&proxy));
    let (ours, theirs) = block_on(async { (s3::all(&ours).await, s3::all(&theirs).await) });
    compare(&ours, &theirs, s3::DIFFERENCES_OF_MOTO);
}

#[test]
fn iam_and_sts_agree_with_ministack() {
    let (model, proxy) = (Model::new(14), Proxy::start_before(Emulators::shared().s3_url()));
    let (ours, theirs) = (of_model(&model), of_emulators(&proxy));
    let (ours, theirs) = block_on(async { (iam::all(&ours).await, iam::all(&theirs).await) });
    compare(&ours, &theirs, &ministack::differences());
}

#[test]
fn s3_agrees_with_ministack() {
    let (model, proxy) = (Model::new(12), Proxy::start(Emulators::shared()));
    let (ours, theirs) = (of_model(&model), of_emulators(&proxy));
    let (ours, theirs) = block_on(async { (s3::all(&ours).await, s3::all(&theirs).await) });
    assert!(ours.0.len() > 40, "{} situations", ours.0.len());
    compare(&ours, &theirs, s3::DIFFERENCES);
}
