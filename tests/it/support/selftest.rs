//! The support code's own tests: what the other tests rely on holds.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_iam::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::PublicAccessBlockConfiguration;

use super::aws_state::{self, clients_of};
use super::emulators::{ACCOUNT, Emulators};
use super::operator::metric;
use super::process::{Process, is_alive, run_dir};
use super::{ControlPlane, Fault, IssuerFront, Kind, Proxy, block_on, eventually, openshift_operator};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}
]}"#;

/// A proxy, and an IAM client through it that does not retry.
fn proxy_and_iam() -> (Proxy, aws_sdk_iam::Client) {
    let proxy = Proxy::start(Emulators::shared());
    let (iam, _, _) = clients_of(&proxy);
    let config = iam.config().to_builder().retry_config(aws_config::retry::RetryConfig::disabled()).build();
    (proxy, aws_sdk_iam::Client::from_conf(config))
}

#[test]
fn the_proxy_names_counts_and_forwards() {
    let proxy = Proxy::start(Emulators::shared());
    let (iam, sts, s3) = clients_of(&proxy);
    let identity = block_on(sts.get_caller_identity().send()).expect("GetCallerIdentity");
    assert_eq!(identity.account(), Some(ACCOUNT));
    let create = iam.create_role().role_name("proxy-counts").assume_role_policy_document(TRUST);
    block_on(create.description("a & b = c").send()).expect("CreateRole");
    block_on(iam.get_role().role_name("proxy-counts").send()).expect("GetRole");

    let bucket = "proxy-counts";
    create_bucket(&s3, bucket);
    block_on(s3.head_bucket().bucket(bucket).expected_bucket_owner(ACCOUNT).send()).expect("HeadBucket");
    let foreign = block_on(s3.head_bucket().bucket(bucket).expected_bucket_owner("111111111111").send());
    assert_eq!(foreign.expect_err("another owner").raw_response().map(|raw| raw.status().as_u16()), Some(403));
    let put = s3.put_object().bucket(bucket).key("a b/c+d'é.json").tagging("x=y").content_type("application/json");
    block_on(put.body(ByteStream::from_static(b"{}")).send()).expect("PutObject");
    block_on(s3.list_objects_v2().bucket(bucket).send()).expect("ListObjectsV2");

    assert_eq!(proxy.write_ops(), ["iam:CreateRole", "s3:CreateBucket", "s3:PutObject"]);
    assert_eq!(proxy.count("s3:HeadBucket"), 2);
    assert_eq!(proxy.count("s3:*"), 5);
    let writes = proxy.writes();
    assert_eq!(writes[0].param("RoleName"), "proxy-counts");
    assert_eq!(writes[0].param("Description"), "a & b = c");
    assert_eq!((writes[0].status, writes[0].forwarded), (200, true));
    assert_eq!(writes[0].access_key_id, "test");
    assert_eq!(writes[2].param("Key"), "a b/c+d'é.json");
    proxy.reset_counts();
    assert!(proxy.calls().is_empty());

    let role = aws_state::role("proxy-counts").expect("the role is there");
    assert_eq!(role.description.as_deref(), Some("a & b = c"));
    assert_eq!(role.trust["Version"], "2012-10-17");
    let seen = aws_state::bucket(bucket).expect("the bucket is there");
    let object = &seen.objects["a b/c+d'é.json"];
    assert_eq!((object.body.as_str(), object.tags["x"].as_str()), ("{}", "y"));
    assert_eq!(seen.public_access_block["BlockPublicPolicy"], true);
    assert!(aws_state::role("nobody").is_none() && aws_state::bucket("no-such-bucket").is_none());
    assert!(proxy.calls().is_empty(), "aws_state goes past the proxy");
}

#[test]
fn the_proxy_breaks_calls() {
    let (proxy, iam) = proxy_and_iam();
    let name = "proxy-faults";
    let create = || {
        let create = iam.create_role().role_name(name).assume_role_policy_document(TRUST);
        block_on(create.send()).map_err(Box::new)
    };
    let code = || create().expect_err("a fault").code().map(str::to_owned);

    proxy.inject(Fault::once("iam:Create*", Kind::AccessDenied));
    let denied = create().expect_err("a fault");
    assert_eq!(denied.code(), Some("AccessDenied"));
    assert!(denied.message().unwrap_or_default().contains("is not authorized to perform: iam:CreateRole on resource"));
    proxy.inject(Fault::once("iam:*", Kind::Throttle));
    assert_eq!(code().as_deref(), Some("Throttling"));
    proxy.inject(Fault::once("*", Kind::Html));
    assert_eq!(code(), None);
    let gone = Kind::Status { code: 503, body: "gone".to_owned(), content_type: "text/plain".to_owned() };
    proxy.inject(Fault::once("iam:CreateRole", gone));
    create().expect_err("a fault");
    proxy.inject(Fault::once("iam:CreateRole", Kind::Refuse));
    let refused = create().expect_err("a fault");
    assert!(refused.as_service_error().is_none(), "{refused:?}");
    assert!(aws_state::role(name).is_none(), "nothing got through so far");
    assert!(proxy.calls().iter().all(|call| !call.forwarded));

    proxy.inject(Fault::once("iam:CreateRole", Kind::LostAnswer));
    create().expect_err("a lost answer");
    assert!(aws_state::role(name).is_some(), "the call took effect");
    assert_eq!(code().as_deref(), Some("EntityAlreadyExists"));
    let statuses: Vec<_> = proxy.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [403, 400, 200, 503, 0, 0, 409]);

    proxy.inject(Fault::always("iam:GetRole", Kind::Delay(Duration::from_millis(300))));
    proxy.rewrite(|op, body| if op == "iam:GetRole" { body.replace("%20", "") } else { body });
    let before = Instant::now();
    block_on(iam.get_role().role_name(name).send()).expect("GetRole");
    assert!(before.elapsed() >= Duration::from_millis(300));
    proxy.clear_faults();

    let called = Arc::new(AtomicUsize::new(0));
    let counter = called.clone();
    proxy.on_write(2, move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let tag = |key: &str| {
        let tag = aws_sdk_iam::types::Tag::builder().key(key).value("v").build().expect("a tag");
        block_on(iam.tag_role().role_name(name).tags(tag).send()).expect("TagRole");
        block_on(iam.get_role().role_name(name).send()).expect("GetRole");
        called.load(Ordering::SeqCst)
    };
    assert_eq!([tag("a"), tag("b"), tag("c")], [0, 1, 1]);
}

#[test]
fn the_proxy_breaks_s3_in_its_own_words() {
    let proxy = Proxy::start(Emulators::shared());
    let (_, _, s3) = clients_of(&proxy);
    proxy.inject(Fault::once("s3:GetBucketPolicy", Kind::AccessDenied));
    let denied = block_on(s3.get_bucket_policy().bucket("some-bucket").send()).expect_err("a fault");
    assert_eq!(denied.code(), Some("AccessDenied"));
    proxy.inject(Fault::once("s3:GetBucketPolicy", Kind::Throttle));
    let retried = block_on(s3.get_bucket_policy().bucket("some-bucket").send()).expect_err("no bucket");
    assert_eq!(retried.code(), Some("NoSuchBucket"));
    let statuses: Vec<_> = proxy.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [403, 503, 404]);
}

#[test]
fn moto_gets_one_request_at_a_time() {
    let proxy = Proxy::start(Emulators::shared());
    let (iam, sts, _) = clients_of(&proxy);
    block_on(async {
        let calls = (0..40).map(|n| {
            let (iam, sts) = (iam.clone(), sts.clone());
            tokio::spawn(async move {
                let create = iam.create_role().role_name(format!("crowd-{n}")).assume_role_policy_document(TRUST);
                create.send().await.expect("CreateRole");
                sts.get_caller_identity().send().await.expect("GetCallerIdentity");
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.expect("no call fails in a crowd");
        }
    });
    assert!(proxy.calls().iter().all(|call| call.status == 200));
}

#[test]
fn the_proxy_makes_up_for_moto() {
    let (proxy, iam) = proxy_and_iam();
    let tag = aws_sdk_iam::types::Tag::builder().key("k").value("a<b>&\"c\"").build().expect("a tag");
    let create = iam.create_open_id_connect_provider().url("https://audiences.example.com/x").client_id_list("one");
    let arn = block_on(create.tags(tag).send()).expect("CreateOpenIDConnectProvider").open_id_connect_provider_arn;
    let arn = arn.expect("an ARN");
    let add = iam.add_client_id_to_open_id_connect_provider().open_id_connect_provider_arn(&arn);
    block_on(add.client_id("two").send()).expect("AddClientID");
    let remove = iam.remove_client_id_from_open_id_connect_provider().open_id_connect_provider_arn(&arn);
    block_on(remove.client_id("one").send()).expect("RemoveClientID");
    let provider = aws_state::provider(&arn).expect("the provider is there");
    assert_eq!(provider.audiences, ["two"]);
    assert_eq!(provider.url, "audiences.example.com/x");
    assert_eq!(provider.tags["k"], "a<b>&\"c\"");
    assert_eq!(proxy.writes().len(), 3);
    let nobody = iam.add_client_id_to_open_id_connect_provider().open_id_connect_provider_arn(format!("{arn}/y"));
    let missing = block_on(nobody.client_id("two").send()).expect_err("no such provider");
    assert_eq!(missing.code(), Some("NoSuchEntity"));

    let name = "makes-up-for-moto";
    let create = iam.create_role().role_name(name).assume_role_policy_document(TRUST).description("a & b");
    block_on(create.max_session_duration(7200).send()).expect("CreateRole");
    block_on(iam.update_role().role_name(name).max_session_duration(4000).send()).expect("UpdateRole");
    let role = aws_state::role(name).expect("the role is there");
    assert_eq!((role.description.as_deref(), role.max_session), (Some("a & b"), Some(4000)));
    block_on(iam.update_role().role_name(name).description("c").send()).expect("UpdateRole");
    let role = aws_state::role(name).expect("the role is there");
    assert_eq!((role.description.as_deref(), role.max_session), (Some("c"), Some(4000)));
}

#[test]
fn the_front_shows_a_public_bucket_over_https() {
    let (s3, bucket) = (aws_state::s3(), "front-shows");
    create_bucket(s3, bucket);
    let put = s3.put_object().bucket(bucket).key(".well-known/openid-configuration").content_type("application/json");
    let put = put.metadata("Some-Key", "v").body(ByteStream::from_static(b"{\"issuer\":1}"));
    let etag = block_on(put.send()).expect("PutObject").e_tag.expect("an ETag");

    let cloudfront = format!("d111.cloudfront.net={bucket}");
    let refused = "refused.s3.us-east-1.amazonaws.com";
    let front = IssuerFront::start(Emulators::shared(), &["--refuse", refused, "--cloudfront", &cloudfront]);
    let ca = front.ca_file().display().to_string();
    let curl = |urls: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "-w", " %{http_code} %{content_type}\n", "--proxy", &front.proxy_url(), "--cacert", &ca])
            .args(urls)
            .output()
            .expect("cannot run curl");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let url = format!("https://{bucket}.s3.us-east-1.amazonaws.com/.well-known/openid-configuration");
    assert!(curl(&[&url]).contains(" 403 "), "a private bucket stays private");

    let open = PublicAccessBlockConfiguration::builder().block_public_policy(false).restrict_public_buckets(false);
    let block = s3.put_public_access_block().bucket(bucket).public_access_block_configuration(open.build());
    block_on(block.send()).expect("PutPublicAccessBlock");
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*",
            "Action":"s3:GetObject","Resource":"arn:aws:s3:::{bucket}/*"}}]}}"#
    );
    block_on(s3.put_bucket_policy().bucket(bucket).policy(policy).send()).expect("PutBucketPolicy");
    let page = "{\"issuer\":1} 200 application/json\n";
    assert_eq!(curl(&[&url]), page);
    assert_eq!(curl(&[&url, &url, &url]), page.repeat(3), "one connection for several requests");
    let china = format!("https://{bucket}.s3.cn-north-1.amazonaws.com.cn/nothing");
    assert!(curl(&[&china]).contains(" 404 "));
    assert!(curl(&["https://refused.s3.us-east-1.amazonaws.com/"]).contains("502"));
    assert!(curl(&["https://example.com/"]).contains("502"));

    let client = https_client(&front);
    block_on(async {
        let calls = (0..20).map(|_| {
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move { client.get(url).send().await.expect("an answer").text().await.expect("a body") })
        });
        for call in calls.collect::<Vec<_>>() {
            assert_eq!(call.await.expect("no panic"), "{\"issuer\":1}");
        }
        let answer = client.get(&url).send().await.expect("an answer");
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!((header("etag"), header("x-amz-meta-some-key")), (Some(etag.as_str()), Some("v")));
    });
}

/// A client with rustls, as the operator's, that trusts the front.
fn https_client(front: &IssuerFront) -> reqwest::Client {
    let pem = std::fs::read(front.ca_file()).expect("the front's authority");
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem).expect("a certificate")])
        .proxy(reqwest::Proxy::https(front.proxy_url()).expect("a proxy's address"))
        .build()
        .expect("a client")
}

#[test]
fn the_control_plane_serves_and_audits() {
    let plane = ControlPlane::shared();
    plane.ensure_namespace("selftest");
    plane.apply_ok("{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: selftest}}");
    let token = plane.sa_token("selftest", "web", "sts.amazonaws.com");
    let key = jsonwebtoken::DecodingKey::from_rsa_pem(plane.sa_public_key_pem().as_bytes()).expect("a public key");
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&["sts.amazonaws.com"]);
    validation.set_issuer(&[super::controlplane::SERVICE_ACCOUNT_ISSUER]);
    let claims = jsonwebtoken::decode::<serde_json::Value>(&token, &key, &validation).expect("a valid token").claims;
    assert_eq!(claims["sub"], "system:serviceaccount:selftest:web");

    let kubeconfig = plane.operator_kubeconfig("selftest");
    assert_eq!(kubeconfig, plane.operator_kubeconfig("selftest"));
    let refused = plane.kubectl_as(&kubeconfig, &["create", "clusterrole", "x", "--verb=get", "--resource=pods"]);
    assert!(refused.stderr.contains("forbidden"), "{}", refused.stderr);
    let writes = plane.writes_by("selftest");
    assert_eq!(writes, plane.changes_by("selftest"));
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!((writes[0].verb.as_str(), writes[0].resource.as_str(), writes[0].code), ("create", "clusterroles", 403));
    assert!(plane.writes_by("another").is_empty());
}

#[test]
fn the_stand_in_for_openshifts_operator_writes_what_is_its_own() {
    let plane = ControlPlane::openshift();
    plane.install();
    let (beside, namespace) = (plane.openshift_operator(), "selftest-stand-in");
    plane.ensure_namespace(namespace);
    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: a-creds, namespace: selftest-stand-in}}";
    plane.apply_ok(secret);
    plane.apply_ok(
        "{apiVersion: cloudcredential.openshift.io/v1, kind: CredentialsRequest, metadata: {name: a, namespace: \
         selftest-stand-in}, spec: {secretRef: {name: a-creds, namespace: selftest-stand-in}}}",
    );
    let request = || plane.get_json(&["credentialsrequest", "a", "-n", namespace]);
    let await_writes = |wanted: usize| {
        eventually(Duration::from_secs(30), &format!("{wanted} writes"), || match beside.writes_to(namespace, "a") {
            made if made == wanted => Ok(request()),
            made => Err(format!("{made}: {}", request())),
        })
    };
    let object = await_writes(2);
    assert_eq!(object["metadata"]["finalizers"], serde_json::json!([openshift_operator::FINALIZER]));
    let mut fields: Vec<&String> = object["status"].as_object().expect("a status").keys().collect();
    fields.sort();
    assert_eq!(fields, ["lastSyncGeneration", "lastSyncTimestamp", "provisioned"]);
    assert_eq!((&object["status"]["provisioned"], &object["status"]["lastSyncGeneration"]), (&true.into(), &1.into()));

    // An hour is over; what others wrote meanwhile is kept.
    let patch = r#"{"status":{"lastSyncTimestamp":"2026-01-02T03:04:05Z","providerStatus":{"any":1},
        "conditions":[{"type":"Foreign","status":"True"}]}}"#;
    plane.kubectl_ok(&[
        "patch",
        "credentialsrequest",
        "a",
        "-n",
        namespace,
        "--subresource=status",
        "--type=merge",
        "-p",
        patch,
    ]);
    let object = await_writes(3);
    assert_ne!(object["status"]["lastSyncTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(object["status"]["providerStatus"]["any"], 1);
    assert_eq!(object["status"]["conditions"][0]["type"], "Foreign");

    plane.kubectl_ok(&["delete", "credentialsrequest", "a", "-n", namespace, "--timeout=60s"]);
    assert!(!plane.kubectl(&["get", "secret", "a-creds", "-n", namespace]).success());
    assert_eq!(beside.deletions_of(namespace, "a-creds"), 1);
    assert_eq!(beside.writes_in(namespace), 4, "the last one took its finalizer away");
    assert!(openshift_operator::minor_version("v4.18.3") > openshift_operator::minor_version("4.16.9"));
    assert!(openshift_operator::minor_version("nonsense") < openshift_operator::minor_version("4.16.9"));
}

#[test]
fn servers_end_with_the_one_who_started_them() {
    // What `tests/keep` is for; that it also holds for a killed test process follows from its stdin being closed then.
    let log = run_dir().join("selftest-keep.log");
    let stubborn = ["-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"];
    let mut process = Process::start("a stubborn program", "bash".as_ref(), stubborn, &[], &log);
    process.wait_until(Duration::from_secs(5), || std::fs::read(&log).is_ok_and(|log| log == b"up\n"));
    let pid = process.pid();
    assert!(is_alive(pid));
    drop(process);
    assert!(!is_alive(pid));

    let mut process = Process::start("a short program", "bash".as_ref(), ["-c", "exit 5"], &[], &log);
    let status =
        eventually(Duration::from_secs(5), "its end", || process.exited().ok_or_else(|| "still running".to_owned()));
    assert_eq!(status.code(), Some(5));
}

#[test]
fn metrics_are_found_by_name_and_labels() {
    let page = "\
# HELP x about {x} 1
x_total{a=\"1\",b=\"p, q\"} 2
x_total{a=\"1\",b=\"r\"} 3
x_totals 9
y 1.5 1700
";
    assert_eq!(metric(page, "x_total{a=\"1\"}"), Some(5.0));
    assert_eq!(metric(page, "x_total{b=\"p, q\",a=\"1\"}"), Some(2.0));
    assert_eq!(metric(page, "x_totals"), Some(9.0));
    assert_eq!(metric(page, "y"), Some(1.5));
    assert_eq!(metric(page, "x_total{a=\"2\"}"), None);
}

fn create_bucket(s3: &aws_sdk_s3::Client, bucket: &str) {
    let constraint = aws_sdk_s3::types::BucketLocationConstraint::from(aws_state::REGION);
    let configuration = aws_sdk_s3::types::CreateBucketConfiguration::builder().location_constraint(constraint).build();
    let call = s3.create_bucket().bucket(bucket).create_bucket_configuration(configuration);
    block_on(call.send()).expect("CreateBucket");
}
