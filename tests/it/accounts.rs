//! One operator, clusters in several accounts: it assumes a role in each, with an external ID where the role asks for one.
//! The accounts are the model's; the emulators have only one.

use std::time::Duration;

use serde_json::json;

use super::ended::{DELETE, SETTLED};
use super::model::{Model, Rule, Served, Trouble, Visible, access_key};
use super::scene::{SOON, Scene, condition_is, request_json, said};
use super::support::{IssuerFront, Operator, block_on, eventually};

const OPERATOR: &str = "999999999999";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Action":"sts:AssumeRole"}]}"#;

/// An account with a role to assume, and a ClusterIdentity that is to be made there.
#[derive(Clone, Copy)]
pub struct Tenant {
    pub account: &'static str,
    /// Name of the ClusterIdentity, and its infra name.
    pub cluster: &'static str,
    pub external_id: &'static str,
}

impl Tenant {
    pub fn role_arn(self) -> String {
        format!("arn:aws:iam::{}:role/rolecall", self.account)
    }

    /// Names of the account's roles, past the one to assume.
    pub fn roles(self, model: &Model) -> Vec<String> {
        let roles = model.roles(self.account).into_iter().map(|role| role.name.clone());
        roles.filter(|name| name != "rolecall").collect()
    }
}

/// Several accounts behind a port, the issuer's documents over HTTPS, and an operator.
pub struct Accounts {
    pub scene: Scene,
    pub model: Model,
    served: Served,
    front: IssuerFront,
}

impl Accounts {
    pub fn new(name: &str, tenants: &[Tenant]) -> Self {
        let model = Model::new(1);
        model.add_account(OPERATOR);
        for tenant in tenants {
            model.add_account(tenant.account);
            let arn = model.put_role(tenant.account, "rolecall", TRUST, Visible::AtOnce);
            assert_eq!(arn, tenant.role_arn());
            model.require_external_id(&arn, tenant.external_id);
        }
        model.keep_log(true);
        let served = block_on(model.serve());
        let front = IssuerFront::before(&served.url(), &[]);
        Accounts { scene: Scene::new(name), model, served, front }
    }

    /// Applies a tenant's ClusterIdentity, and a request `<cluster>-a`. `aws` is JSON.
    pub fn apply(&self, tenant: Tenant, aws: &str, more: &str) {
        let (namespace, cluster) = (&self.scene.name, tenant.cluster);
        let selector = format!("  credentialsRequests: {{selector: {{matchLabels: {{cluster: {cluster}}}}}}}\n{more}");
        let yaml = self.scene.identity_yaml(&selector).replace("driftInterval: 2s", "driftInterval: 1s");
        let yaml = yaml.replace("aws: {accountID: \"123456789012\"}", &format!("aws: {aws}"));
        let yaml = yaml.replace(&format!("{{name: {namespace},"), &format!("{{name: {cluster},"));
        self.scene
            .cluster
            .apply_ok(&yaml.replace(&format!("infraName: {namespace}"), &format!("infraName: {cluster}")));
        let mut request = request_json(namespace, &format!("{cluster}-a"));
        request["metadata"]["labels"] = json!({"cluster": cluster});
        self.scene.cluster.apply_ok(&request.to_string());
    }

    /// Starts the operator, as itself in an account of its own, and with everything in its log.
    pub fn start(&mut self) {
        let (url, front) = (self.served.url(), &self.front);
        let (key, proxy) = (access_key(OPERATOR), front.proxy_url());
        let ca = front.ca_file().display().to_string();
        let mut env = vec![("AWS_ACCESS_KEY_ID", key.as_str()), ("AWS_SECRET_ACCESS_KEY", "the operators own secret")];
        env.extend(
            ["AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_S3"].map(|name| (name, url.as_str())),
        );
        env.extend([
            ("HTTPS_PROXY", proxy.as_str()),
            ("SSL_CERT_FILE", ca.as_str()),
            ("NO_PROXY", "127.0.0.1,localhost"),
        ]);
        let args = [&SETTLED[..], &["--log", "info,kube_runtime=warn,rolecall=trace"]].concat();
        let proxy = &self.scene.proxy;
        let mut operator = Operator::start(self.scene.cluster, &self.scene.name, proxy, None, &args, &env);
        operator.wait_ready(SOON);
        self.scene.operator = Some(operator);
    }

    /// Waits for a condition of a tenant's ClusterIdentity; its message.
    #[track_caller]
    pub fn await_condition(&self, tenant: Tenant, type_: &str, status: &str) -> String {
        let args = ["cid", tenant.cluster, "-n", &self.scene.name];
        eventually(SOON, &format!("{type_}={status} of {}", tenant.cluster), || {
            condition_is(&self.scene.cluster.get_json(&args), type_, status)
        })
    }

    /// Waits until everything of a tenant is in its own account.
    #[track_caller]
    pub fn await_ready(&self, tenant: Tenant) {
        self.await_condition(tenant, "Ready", "True");
        self.await_condition(tenant, "IssuerVerified", "True");
        let role = format!("{0}-{1}-{0}-a-creds", tenant.cluster, self.scene.name);
        assert_eq!(tenant.roles(&self.model), [role.as_str()]);
        assert_eq!(self.model.providers(tenant.account).len(), 1);
        let bucket = self.model.bucket(&format!("{}-oidc", tenant.cluster)).expect("the bucket");
        assert_eq!(bucket.owner, tenant.account);
        let secret = format!("{}-a-creds", tenant.cluster);
        let args =
            ["get", "secret", &secret, "-n", &self.scene.name, "-o", "go-template={{.data.credentials|base64decode}}"];
        let credentials = self.scene.cluster.kubectl_ok(&args);
        assert!(credentials.contains(&format!("arn:aws:iam::{}:role/{role}", tenant.account)), "{credentials}");
    }

    /// No key, token, external ID or secret of anyone is in the log.
    #[track_caller]
    fn assert_discreet(&self, external_ids: &[&str]) {
        let log = self.scene.operator().log();
        assert!(log.contains("\"outcome\":\"verified\""), "there is something in the log at all");
        let secrets =
            ["ASIA", "AKIA", "a secret of the model", "the operators own secret", "SessionToken", "ExternalId"];
        for secret in secrets.iter().chain(external_ids) {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret:?} is in the log");
        }
    }
}

const FIRST: Tenant = Tenant { account: "111111111111", cluster: "acc-one", external_id: "first-hosts-own-id" };
const SECOND: Tenant = Tenant { account: "222222222222", cluster: "acc-two", external_id: "second-hosts-own-id" };

pub fn aws_of(tenant: Tenant, external_id: &str) -> String {
    let arn = tenant.role_arn();
    format!("{{accountID: \"{}\", assumeRoleARN: \"{arn}\", externalID: \"{external_id}\"}}", tenant.account)
}

#[test]
fn one_operator_serves_clusters_in_two_accounts() {
    let mut accounts = Accounts::new("accounts", &[FIRST, SECOND]);
    for tenant in [FIRST, SECOND] {
        accounts.apply(tenant, &aws_of(tenant, tenant.external_id), DELETE);
    }
    accounts.start();
    accounts.await_ready(FIRST);
    accounts.await_ready(SECOND);
    assert!(accounts.model.roles(OPERATOR).is_empty() && accounts.model.providers(OPERATOR).is_empty());
    // Assuming the role is all that the operator does as itself.
    let own: Vec<_> =
        accounts.model.log().into_iter().filter(|call| call.account == OPERATOR).map(|call| call.op).collect();
    assert!(!own.is_empty() && own.iter().all(|op| *op == "sts:AssumeRole"), "{own:?}");
    assert_eq!(own.len(), 2, "a session serves for an hour");

    // One goes, and takes only its own along.
    let namespace = accounts.scene.name.clone();
    accounts.scene.cluster.kubectl_ok(&["delete", "cid", FIRST.cluster, "-n", &namespace, "--timeout=60s"]);
    assert!(FIRST.roles(&accounts.model).is_empty() && accounts.model.providers(FIRST.account).is_empty());
    assert!(accounts.model.bucket("acc-one-oidc").is_none());
    assert!(accounts.model.role(FIRST.account, "rolecall").is_some(), "the role to assume is a person's");
    accounts.await_ready(SECOND);
    accounts.assert_discreet(&[FIRST.external_id, SECOND.external_id]);
}

const ALONE: Tenant = Tenant { account: "333333333333", cluster: "ext-one", external_id: "the-right-id-of-one" };
const WRONG: Tenant = Tenant { account: "444444444444", cluster: "ext-two", external_id: "the-right-id-of-two" };

/// A wrong external ID, and none at all: said as what it is, and the other cluster goes on.
#[test]
fn a_wrong_external_id_is_named_and_stops_no_other() {
    let mut accounts = Accounts::new("external", &[ALONE, WRONG]);
    accounts.apply(ALONE, &aws_of(ALONE, ALONE.external_id), "");
    accounts.apply(WRONG, &aws_of(WRONG, "a-wrong-id-of-two"), "");
    accounts.start();
    accounts.await_ready(ALONE);
    let arn = WRONG.role_arn();
    let assert_named = || {
        let message = accounts.await_condition(WRONG, "OperatorPermissionsSufficient", "False");
        assert_eq!(message, "missing: sts:AssumeRole");
        let message = accounts.await_condition(WRONG, "SnapshotFresh", "False");
        assert!(message.starts_with(&format!("sts:AssumeRole on {arn} (spec.aws) was denied")), "{message}");
        assert!(!message.contains("-id-of-two"), "{message}");
        let object = accounts.scene.cluster.get_json(&["cid", WRONG.cluster, "-n", "external"]);
        assert_eq!(said(&object, "Stalled", "status"), "True");
        assert_eq!(said(&object, "Stalled", "reason"), "AccessDenied");
        assert!(WRONG.roles(&accounts.model).is_empty());
    };
    assert_named();
    accounts.apply(WRONG, &format!("{{assumeRoleARN: \"{arn}\"}}"), "");
    let refused = || accounts.model.counts().with_outcome("sts:AssumeRole", "AccessDenied");
    let before = refused();
    eventually(SOON, "another try", || if refused() > before { Ok(()) } else { Err("none".to_owned()) });
    assert_named();
    accounts.apply(WRONG, &aws_of(WRONG, WRONG.external_id), "");
    accounts.await_ready(WRONG);
    assert_eq!(accounts.await_condition(WRONG, "OperatorPermissionsSufficient", "True"), "no call was denied");
    accounts.assert_discreet(&[ALONE.external_id, WRONG.external_id, "a-wrong-id-of-two"]);
}

const GUARDED: Tenant = Tenant { account: "555555555555", cluster: "guarded", external_id: "id-of-guarded" };

/// The guard is held against the account that is acted in, not against the operator's own.
#[test]
fn the_account_guard_looks_at_the_assumed_roles_account() {
    let mut accounts = Accounts::new("guard", &[GUARDED]);
    let arn = GUARDED.role_arn();
    let aws = format!("{{accountID: \"{OPERATOR}\", assumeRoleARN: \"{arn}\", externalID: {}}}", GUARDED.external_id);
    accounts.apply(GUARDED, &aws, DELETE);
    accounts.start();
    let message = accounts.await_condition(GUARDED, "Ready", "False");
    assert!(message.contains(GUARDED.account) && message.contains(OPERATOR), "{message}");
    assert_eq!(accounts.model.counts().writes, 0);
    let namespace = accounts.scene.name.clone();
    let object = accounts.scene.cluster.get_json(&["cid", GUARDED.cluster, "-n", &namespace]);
    assert_eq!(said(&object, "Ready", "reason"), "WrongAccount");
    accounts.apply(GUARDED, &aws_of(GUARDED, GUARDED.external_id), DELETE);
    accounts.await_ready(GUARDED);

    // A guard that no longer fits holds a deletion, too, and says so.
    let patch = format!("{{\"spec\":{{\"aws\":{{\"accountID\":\"{OPERATOR}\"}}}}}}");
    let cid = ["cid", GUARDED.cluster, "-n", &namespace];
    accounts.scene.cluster.kubectl_ok(&[&["patch"], &cid[..], &["--type=merge", "-p", &patch]].concat());
    accounts.scene.cluster.kubectl_ok(&[&["delete"], &cid[..], &["--wait=false"]].concat());
    eventually(SOON, "the deletion to be held", || {
        let object = accounts.scene.cluster.get_json(&cid);
        let message = said(&object, "Ready", "message");
        let held =
            said(&object, "Ready", "reason") == "Deleting" && message.contains("set spec.deletionPolicy to Retain");
        if held && message.contains(OPERATOR) { Ok(()) } else { Err(object["status"].to_string()) }
    });
    assert_eq!(GUARDED.roles(&accounts.model).len(), 1);
}

const SHORT: Tenant = Tenant { account: "666666666666", cluster: "short", external_id: "id-of-short" };

#[test]
fn sessions_are_renewed_before_they_end() {
    let mut accounts = Accounts::new("sessions", &[SHORT]);
    accounts.model.set_options(|options| options.longest_session = Some(Duration::from_secs(8)));
    accounts.apply(SHORT, &aws_of(SHORT, SHORT.external_id), "");
    accounts.start();
    accounts.await_ready(SHORT);
    let log = || accounts.model.log();
    // Longer than any session that there was: passes go on.
    std::thread::sleep(Duration::from_secs(9));
    accounts.scene.await_passes(2.0);
    let role = SHORT.roles(&accounts.model).remove(0);
    accounts.model.alter_role(SHORT.account, &role, Visible::AtOnce, |role| role.inline.clear());
    eventually(SOON, "the role to be healed", || {
        let role = accounts.model.role(SHORT.account, &role).expect("the role");
        if role.inline.is_empty() { Err("not yet".to_owned()) } else { Ok(()) }
    });
    accounts.await_condition(SHORT, "Ready", "True");
    let assumed = log().iter().filter(|call| call.op == "sts:AssumeRole").count();
    assert!(assumed >= 2, "{assumed}");
    let expired: Vec<_> = log().into_iter().filter(|call| call.outcome.contains("Expired")).collect();
    assert_eq!(expired, [], "no call was made with a session that had ended");
    accounts.assert_discreet(&[SHORT.external_id]);
}

/// A bad hour of STS is no lack of credentials: nothing is concluded, and nobody is called.
#[test]
fn while_sts_throttles_older_verdicts_stand() {
    const BUSY: Tenant = Tenant { account: "888888888888", cluster: "busy", external_id: "id-of-busy" };
    let mut accounts = Accounts::new("busysts", &[BUSY]);
    accounts.model.set_options(|options| options.longest_session = Some(Duration::from_secs(3)));
    accounts.apply(BUSY, &aws_of(BUSY, BUSY.external_id), "");
    accounts.start();
    accounts.await_ready(BUSY);
    let stands = |accounts: &Accounts, target: &str| {
        let words = format!("sts:AssumeRole on {target} was throttled");
        let object = eventually(SOON, &format!("{words:?}"), || {
            let object = accounts.scene.cluster.get_json(&["cid", BUSY.cluster, "-n", "busysts"]);
            let message = condition_is(&object, "SnapshotFresh", "False")?;
            if message.contains(&words) { Ok(object) } else { Err(message) }
        });
        for type_ in ["Ready", "IssuerPublished", "RolesReady", "OperatorPermissionsSufficient"] {
            assert_eq!(said(&object, type_, "status"), "True", "{type_}: {}", object["status"]);
        }
        assert_eq!(said(&object, "SnapshotFresh", "reason"), "Throttled");
        assert_eq!(said(&object, "Reconciling", "status"), "True");
        assert_eq!(said(&object, "Stalled", "status"), "");
    };
    accounts.model.add_rule(Rule::always("sts:AssumeRole", Trouble::Throttle));
    stands(&accounts, "the operator's credentials");
    accounts.scene.operator.as_mut().expect("an operator").kill9();
    accounts.start();
    stands(&accounts, &format!("{} (spec.aws)", BUSY.role_arn()));
    accounts.model.clear_rules();
    accounts.await_condition(BUSY, "SnapshotFresh", "True");
}

/// The role was taken away from us while the cluster was being deleted.
#[test]
fn a_role_that_can_no_longer_be_assumed_holds_a_deletion_until_it_can() {
    const LOCKED: Tenant = Tenant { account: "777777777777", cluster: "locked", external_id: "id-of-locked" };
    let mut accounts = Accounts::new("lockout", &[LOCKED]);
    accounts.apply(LOCKED, &aws_of(LOCKED, LOCKED.external_id), DELETE);
    accounts.start();
    accounts.await_ready(LOCKED);
    accounts.scene.operator.as_mut().expect("an operator").kill9();
    accounts.model.require_external_id(&LOCKED.role_arn(), "another-id-of-locked");
    accounts.model.reset_counts();
    let cid = ["cid", LOCKED.cluster, "-n", "lockout"];
    accounts.scene.cluster.kubectl_ok(&[&["delete"], &cid[..], &["--wait=false"]].concat());
    accounts.start();
    let message = accounts.await_condition(LOCKED, "Ready", "False");
    for words in ["sts:AssumeRole on", &LOCKED.role_arn(), "was denied", "the finalizer", "deletionPolicy to Retain"] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(accounts.model.counts().writes, 0);
    accounts.model.require_external_id(&LOCKED.role_arn(), LOCKED.external_id);
    accounts.scene.cluster.wait(60, &[&["--for=delete"], &cid[..]].concat());
    assert!(LOCKED.roles(&accounts.model).is_empty() && accounts.model.bucket("locked-oidc").is_none());
}

#[test]
fn an_external_id_without_a_role_is_refused_by_the_api_server() {
    let scene = Scene::new("extalone");
    let aws =
        |fields: &str| scene.identity_yaml("").replace("aws: {accountID: \"123456789012\"}", &format!("aws: {fields}"));
    let refused = scene.cluster.apply(&aws("{externalID: some-id}"));
    assert!(!refused.success());
    assert!(refused.stderr.contains("externalID is for assumeRoleARN: set both or neither"), "{}", refused.stderr);
    for bad in [
        "{assumeRoleARN: rolecall}",
        "{assumeRoleARN: \"arn:aws:iam::1:role/x\"}",
        "{assumeRoleARN: \"arn:aws:iam::111111111111:role/x\", externalID: \"a b\"}",
    ] {
        assert!(!scene.cluster.apply(&aws(bad)).success(), "{bad}");
    }
    scene.cluster.apply_ok(&aws("{assumeRoleARN: \"arn:aws:iam::111111111111:role/path/x\"}"));
}

const HERE: Tenant = Tenant { account: "555555555555", cluster: "acc-here", external_id: "the-id-of-here" };
const THERE: Tenant = Tenant { account: "666666666666", cluster: "acc-here", external_id: "the-id-of-there" };

/// Another role to assume, and with it another account: nothing is made there before somebody names that account.
#[test]
fn an_account_that_nobody_named_is_not_followed() {
    let mut accounts = Accounts::new("moves", &[HERE, THERE]);
    let unnamed = |tenant: Tenant| {
        format!("{{assumeRoleARN: \"{}\", externalID: \"{}\"}}", tenant.role_arn(), tenant.external_id)
    };
    accounts.apply(HERE, &unnamed(HERE), "");
    accounts.start();
    accounts.await_ready(HERE);

    accounts.apply(THERE, &unnamed(THERE), "");
    let message = eventually(SOON, "a refusal", || {
        let object = accounts.scene.cluster.get_json(&["cid", HERE.cluster, "-n", &accounts.scene.name]);
        condition_is(&object, "Stalled", "True")?;
        Ok::<_, String>(said(&object, "Ready", "message"))
    });
    for part in [HERE.account, THERE.account, "make a new ClusterIdentity"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(THERE.roles(&accounts.model).is_empty() && accounts.model.providers(THERE.account).is_empty());
    let secret = [
        "get",
        "secret",
        "acc-here-a-creds",
        "-n",
        &accounts.scene.name,
        "-o",
        "go-template={{.data.credentials|base64decode}}",
    ];
    assert!(accounts.scene.cluster.kubectl_ok(&secret).contains(HERE.account), "the components keep their credentials");

    // Naming it changes nothing: what was verified lies in the other one.
    accounts.apply(THERE, &aws_of(THERE, THERE.external_id), "");
    eventually(SOON, "the name to be refused", || {
        let object = accounts.scene.cluster.get_json(&["cid", HERE.cluster, "-n", &accounts.scene.name]);
        condition_is(&object, "Stalled", "True")?;
        let seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        if seen && said(&object, "Ready", "reason") == "WrongAccount" {
            Ok(())
        } else {
            Err(object["status"].to_string())
        }
    });
    assert!(THERE.roles(&accounts.model).is_empty());
    assert_eq!(HERE.roles(&accounts.model).len(), 1, "the other account is left as it is");
}
