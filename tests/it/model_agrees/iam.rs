//! Situations of IAM and STS.

use aws_sdk_iam::types::{EntityType, Role, RoleDetail, RoleLastUsed, Tag};
use percent_encoding::percent_decode_str;

use super::{Clients, Difference, Transcript};

/// Everything here has this path, to tell it from what other tests have in moto at the same time.
const PATH: &str = "/model-agrees/";
/// No path that IAM takes.
const ODD_PATH: &str = "no-slash";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const OTHER_TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity","Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/x.example.com/y"},"Condition":{"StringEquals":{"x.example.com/y:sub":["system:serviceaccount:a:b"]}}}]}"#;
const POLICY: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}"#;
const MANAGED: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";
const NAME: &str = "model-agrees";
/// A role for what an emulator may do and AWS would not: nothing else is asked of it then.
const SPOILT: &str = "model-agrees-plain";

/// Where moto 5.2.5 does otherwise than AWS.
pub(super) const DIFFERENCES: &[Difference] = &[
    Difference {
        situation: "CreateRole in another case",
        why: "moto takes names that differ in case for different ones",
    },
    Difference { situation: "CreateRole with 65 characters", why: "moto does not check this parameter" },
    Difference { situation: "CreateRole with a space", why: "moto does not check this parameter" },
    Difference { situation: "CreateRole with a bad path", why: "moto does not check this parameter" },
    Difference { situation: "CreateRole for 30 minutes", why: "moto does not check this parameter" },
    Difference { situation: "CreateRole for 13 hours", why: "moto does not check this parameter" },
    Difference { situation: "CreateRole with a tag of AWS", why: "moto lets anyone set the tags of AWS" },
    Difference { situation: "CreateRole with no such boundary", why: "moto does not look the boundary up" },
    Difference { situation: "a trust policy that is no JSON", why: "moto does not read trust policies" },
    Difference { situation: "a trust policy with a resource", why: "moto does not read trust policies" },
    Difference { situation: "a trust policy without a principal", why: "moto does not read trust policies" },
    Difference { situation: "a trust policy without an action", why: "moto does not read trust policies" },
    Difference { situation: "a trust policy with an action of S3", why: "moto does not read trust policies" },
    Difference { situation: "a trust policy with an odd principal", why: "moto does not read trust policies" },
    Difference { situation: "a trust policy without statements", why: "moto does not read trust policies" },
    Difference { situation: "a trust policy that is too long", why: "moto does not read trust policies" },
    Difference { situation: "UpdateRole for a minute", why: "moto does not check this parameter" },
    Difference { situation: "PutRolePermissionsBoundary of nothing", why: "moto does not look the boundary up" },
    Difference { situation: "PutRolePolicy with a principal", why: "moto takes an identity policy with a principal" },
    Difference { situation: "PutRolePolicy of 11,000 characters", why: "moto has no quota for inline policies" },
    Difference { situation: "ListRolePolicies in pages", why: "moto gives all at once, whatever MaxItems says" },
    Difference { situation: "DeletePolicy that is attached", why: "moto deletes policies that are attached" },
    Difference {
        situation: "ListRoleTags in another case",
        why: "moto takes tag keys of roles that differ in case for different ones",
    },
    Difference { situation: "ListRoles, none at a time", why: "moto does not check this parameter" },
    Difference { situation: "ListRoles, 1,001 at a time", why: "moto does not check this parameter" },
    Difference { situation: "ListRoles with a bad marker", why: "moto breaks down (an answer without a code, 500)" },
    Difference { situation: "ListInstanceProfilesForRole of nobody", why: "moto does not look the role up" },
    Difference {
        situation: "CreateOpenIDConnectProvider with tags that differ in case",
        why: "moto takes tag keys of providers that differ in case for the same",
    },
    Difference { situation: "CreateOpenIDConnectProvider over HTTP", why: "moto does not ask for HTTPS" },
    Difference {
        situation: "CreateOpenIDConnectProvider with a short thumbprint",
        why: "moto does not check this parameter",
    },
    Difference {
        situation: "GetOpenIDConnectProvider with a thumbprint that AWS fetched",
        why: "moto fetches no thumbprint",
    },
    Difference { situation: "AssumeRole of nobody", why: "moto gives credentials for any role, for any time" },
    Difference { situation: "AssumeRole for a minute", why: "moto gives credentials for any role, for any time" },
    Difference { situation: "AssumeRole for 13 hours", why: "moto gives credentials for any role, for any time" },
    Difference {
        situation: "AssumeRole for longer than the role allows",
        why: "moto gives credentials for any role, for any time",
    },
];

pub(super) async fn all(clients: &Clients) -> Transcript {
    let mut book = Transcript::default();
    making(clients, &mut book).await;
    refused(clients, &mut book).await;
    altering(clients, &mut book).await;
    inline(clients, &mut book).await;
    managed(clients, &mut book).await;
    tags(clients, &mut book).await;
    lists(clients, &mut book).await;
    deleting(clients, &mut book).await;
    providers(clients, &mut book).await;
    dates(clients, &mut book).await;
    sessions(clients, &mut book).await;
    clean(clients).await;
    book
}

/// Takes away what is left, some of it odd: other tests share the emulator.
async fn clean(Clients { iam, .. }: &Clients) {
    let roles = iam.list_roles().into_paginator().items().send().try_collect().await.expect("ListRoles");
    let ours = |role: &Role| role.path == PATH || role.path == ODD_PATH || role.role_name.starts_with(NAME);
    for role in roles.iter().filter(|role| ours(role)).map(|role| &role.role_name) {
        let inline = iam.list_role_policies().role_name(role).send().await.expect("ListRolePolicies");
        for name in inline.policy_names() {
            iam.delete_role_policy().role_name(role).policy_name(name).send().await.expect("DeleteRolePolicy");
        }
        let attached =
            iam.list_attached_role_policies().role_name(role).send().await.expect("ListAttachedRolePolicies");
        for arn in attached.attached_policies().iter().filter_map(|policy| policy.policy_arn()) {
            let _ = iam.detach_role_policy().role_name(role).policy_arn(arn).send().await;
        }
        // moto cannot detach the policy that it should not have deleted, so one plain role stays.
        let deleted = iam.delete_role().role_name(role).send().await;
        assert!(deleted.is_ok() || role == SPOILT, "{deleted:?}");
    }
    let providers = iam.list_open_id_connect_providers().send().await.expect("ListOpenIDConnectProviders");
    let arns = providers.open_id_connect_provider_list().iter().filter_map(|provider| provider.arn());
    for arn in arns.filter(|arn| arn.contains(NAME)) {
        let delete = iam.delete_open_id_connect_provider().open_id_connect_provider_arn(arn);
        delete.send().await.expect("DeleteOpenIDConnectProvider");
    }
}

async fn making(Clients { iam, .. }: &Clients, book: &mut Transcript) {
    let create = || iam.create_role().role_name(NAME).path(PATH).assume_role_policy_document(TRUST);
    let full = create().description("a & b <c>").max_session_duration(7200).tags(tag("a", "1")).tags(tag("b", "x=y é"));
    book.note("CreateRole", full.send().await, |answer| shown(answer.role()));
    book.done("CreateRole again", create().send().await);
    book.note("GetRole", iam.get_role().role_name(NAME).send().await, |answer| shown(answer.role()));
    book.done("GetRole of nobody", iam.get_role().role_name("nobody").send().await);
    let plain = iam.create_role().role_name(SPOILT).assume_role_policy_document(TRUST).path(PATH);
    book.note("CreateRole with the least", plain.send().await, |answer| shown(answer.role()));
    let get = iam.get_role().role_name(SPOILT);
    book.note("GetRole with the least", get.send().await, |answer| shown(answer.role()));
}

async fn refused(Clients { iam, .. }: &Clients, book: &mut Transcript) {
    let create = |name: &str| iam.create_role().role_name(name).path(PATH).assume_role_policy_document(TRUST);
    book.done("CreateRole in another case", create("Model-Agrees").send().await);
    book.done("CreateRole with 65 characters", create(&"n".repeat(65)).send().await);
    book.done("CreateRole with a space", create("a b").send().await);
    book.done("CreateRole with a bad path", create("bad-path").path(ODD_PATH).send().await);
    book.done("CreateRole for 30 minutes", create("short").max_session_duration(1800).send().await);
    book.done("CreateRole for 13 hours", create("long").max_session_duration(46800).send().await);
    let twice = create("twice").tags(tag("k", "1")).tags(tag("k", "2"));
    book.done("CreateRole with a tag twice", twice.send().await);
    book.done("CreateRole with a tag of AWS", create("of-aws").tags(tag("aws:x", "1")).send().await);
    let unknown = "arn:aws:iam::123456789012:policy/nothing";
    book.done("CreateRole with no such boundary", create("bound").permissions_boundary(unknown).send().await);
    for (n, (situation, trust)) in TRUSTS.iter().enumerate() {
        book.done(situation, create(&format!("trust-{n}")).assume_role_policy_document(*trust).send().await);
    }
    let long = TRUST.replace("ec2", &"e".repeat(2100));
    book.done("a trust policy that is too long", create("big").assume_role_policy_document(long).send().await);
    let white = TRUST.replace(",\"", &format!(",{}\"", " ".repeat(900)));
    let create = create("white").assume_role_policy_document(white);
    book.done("a trust policy with white space", create.send().await);
}

const TRUSTS: &[(&str, &str)] = &[
    ("a trust policy that is no JSON", "{"),
    (
        "a trust policy with a resource",
        r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}]}"#,
    ),
    ("a trust policy without a principal", r#"{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole"}]}"#),
    ("a trust policy without an action", r#"{"Statement":[{"Effect":"Allow","Principal":"*"}]}"#),
    (
        "a trust policy with an action of S3",
        r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}]}"#,
    ),
    (
        "a trust policy with an odd principal",
        r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"someone"},"Action":"sts:AssumeRole"}]}"#,
    ),
    ("a trust policy without statements", r#"{"Version":"2012-10-17"}"#),
];

async fn altering(Clients { iam, .. }: &Clients, book: &mut Transcript) {
    book.done("UpdateRole", iam.update_role().role_name(NAME).description("new").send().await);
    let get = || iam.get_role().role_name(NAME).send();
    book.note("GetRole after UpdateRole", get().await, |answer| shown(answer.role()));
    book.done("UpdateRole of nobody", iam.update_role().role_name("nobody").description("x").send().await);
    book.done("UpdateRole for a minute", iam.update_role().role_name(SPOILT).max_session_duration(60).send().await);
    let update = |name: &str, trust: &str| iam.update_assume_role_policy().role_name(name).policy_document(trust);
    book.done("UpdateAssumeRolePolicy", update(NAME, OTHER_TRUST).send().await);
    book.note("GetRole after UpdateAssumeRolePolicy", get().await, |answer| shown(answer.role()));
    book.done("UpdateAssumeRolePolicy of nobody", update("nobody", TRUST).send().await);
    book.done("UpdateAssumeRolePolicy without JSON", update(NAME, "nonsense").send().await);

    let put =
        |role: &str, arn: &str| iam.put_role_permissions_boundary().role_name(role).permissions_boundary(arn).send();
    book.done("PutRolePermissionsBoundary", put(NAME, MANAGED).await);
    book.note("GetRole with a boundary", get().await, |answer| shown(answer.role()));
    let nothing = "arn:aws:iam::123456789012:policy/nothing";
    book.done("PutRolePermissionsBoundary of nothing", put(SPOILT, nothing).await);
    book.done("PutRolePermissionsBoundary of nobody", put("nobody", MANAGED).await);
    let delete = |name: &str| iam.delete_role_permissions_boundary().role_name(name).send();
    book.done("DeleteRolePermissionsBoundary", delete(NAME).await);
    book.done("DeleteRolePermissionsBoundary of nobody", delete("nobody").await);
    book.note("GetRole without a boundary", get().await, |answer| shown(answer.role()));
}

async fn inline(Clients { iam, .. }: &Clients, book: &mut Transcript) {
    let put = |role: &str, name: &str, text: &str| {
        iam.put_role_policy().role_name(role).policy_name(name).policy_document(text).send()
    };
    let get = |role: &str, name: &str| iam.get_role_policy().role_name(role).policy_name(name).send();
    book.done("PutRolePolicy", put(NAME, "p", POLICY).await);
    book.note("GetRolePolicy", get(NAME, "p").await, |answer| {
        format!("{} {} {}", answer.role_name(), answer.policy_name(), decoded(answer.policy_document()))
    });
    book.done("PutRolePolicy in its place", put(NAME, "p", &POLICY.replace("Get", "Put")).await);
    book.note("GetRolePolicy of the new one", get(NAME, "p").await, |answer| decoded(answer.policy_document()));
    book.done("GetRolePolicy of nothing", get(NAME, "q").await);
    book.done("GetRolePolicy of nobody", get("nobody", "p").await);
    book.done("PutRolePolicy of nobody", put("nobody", "p", POLICY).await);
    book.done("PutRolePolicy without JSON", put(NAME, "q", "[").await);
    book.done("PutRolePolicy without a resource", put(NAME, "q", &POLICY.replace(",\"Resource\":\"*\"", "")).await);
    let no_vendor = POLICY.replace("s3:GetObject", "GetObject");
    book.done("PutRolePolicy with an action of no service", put(NAME, "q", &no_vendor).await);
    let principal = POLICY.replace("\"Resource\"", "\"Principal\":\"*\",\"Resource\"");
    book.done("PutRolePolicy with a principal", put(SPOILT, "q", &principal).await);
    book.done(
        "PutRolePolicy of 11,000 characters",
        put(SPOILT, "q", &POLICY.replace("Get", &"G".repeat(11_000))).await,
    );
    book.done("PutRolePolicy, a second", put(NAME, "o", POLICY).await);
    let list = |name: &str| iam.list_role_policies().role_name(name);
    book.note("ListRolePolicies", list(NAME).send().await, |answer| sorted(answer.policy_names()));
    book.note("ListRolePolicies in pages", list(NAME).max_items(1).send().await, |answer| {
        format!("{} {}", answer.policy_names().len(), answer.is_truncated())
    });
    book.done("ListRolePolicies of nobody", list("nobody").send().await);
    let delete = |role: &str, name: &str| iam.delete_role_policy().role_name(role).policy_name(name).send();
    book.done("DeleteRolePolicy", delete(NAME, "o").await);
    book.done("DeleteRolePolicy again", delete(NAME, "o").await);
    book.done("DeleteRolePolicy of nobody", delete("nobody", "o").await);
}

async fn managed(Clients { iam, .. }: &Clients, book: &mut Transcript) {
    let create = || iam.create_policy().policy_name("model-agrees").path(PATH).policy_document(POLICY);
    let made = book.note("CreatePolicy", create().description("d").send().await, |answer| {
        let policy = answer.policy().expect("a policy");
        format!("{:?} {:?} {:?}", policy.policy_name, policy.arn, policy.default_version_id)
    });
    let arn = made.and_then(|made| made.policy?.arn).expect("an ARN");
    let nothing = format!("{arn}-not");
    book.done("CreatePolicy again", create().send().await);
    book.done("CreatePolicy without JSON", iam.create_policy().policy_name("x").policy_document("{").send().await);
    let attach = |role: &str, arn: &str| iam.attach_role_policy().role_name(role).policy_arn(arn).send();
    book.done("AttachRolePolicy", attach(NAME, &arn).await);
    book.done("AttachRolePolicy of AWS", attach(NAME, MANAGED).await);
    book.done("AttachRolePolicy of nothing", attach(NAME, &nothing).await);
    book.done("AttachRolePolicy of nobody", attach("nobody", &arn).await);
    let list = |name: &str| iam.list_attached_role_policies().role_name(name).send();
    book.note("ListAttachedRolePolicies", list(NAME).await, |answer| {
        sorted(&answer.attached_policies().iter().map(|policy| format!("{policy:?}")).collect::<Vec<_>>())
    });
    book.done("ListAttachedRolePolicies of nobody", list("nobody").await);
    let get = |arn: &str| iam.get_policy().policy_arn(arn).send();
    book.note("GetPolicy", get(&arn).await, |answer| {
        let policy = answer.policy().expect("a policy");
        format!("{:?} {:?} {:?} {:?}", policy.arn, policy.path, policy.description, policy.attachment_count)
    });
    book.done("GetPolicy of nothing", get(&nothing).await);
    let version = |version: &str| iam.get_policy_version().policy_arn(&arn).version_id(version).send();
    book.note("GetPolicyVersion", version("v1").await, |answer| {
        let version = answer.policy_version().expect("a version");
        format!("{} {}", decoded(version.document().unwrap_or_default()), version.is_default_version)
    });
    book.done("GetPolicyVersion of none", version("v7").await);
    let other = iam.create_policy().policy_name("model-agrees-attached").policy_document(POLICY).send().await;
    let other = other.expect("a policy").policy.and_then(|policy| policy.arn).expect("an ARN");
    book.done("AttachRolePolicy to another", attach(SPOILT, &other).await);
    book.done("AttachRolePolicy again", attach(SPOILT, &other).await);
    book.done("DeletePolicy that is attached", iam.delete_policy().policy_arn(&other).send().await);
    let detach = |role: &str, arn: &str| iam.detach_role_policy().role_name(role).policy_arn(arn).send();
    book.done("DetachRolePolicy of nobody", detach("nobody", &arn).await);
    book.done("DetachRolePolicy", detach(NAME, &arn).await);
    book.done("DetachRolePolicy again", detach(NAME, &arn).await);
    book.done("DeletePolicy", iam.delete_policy().policy_arn(&arn).send().await);
    book.done("DeletePolicy again", iam.delete_policy().policy_arn(&arn).send().await);
}

async fn tags(Clients { iam, .. }: &Clients, book: &mut Transcript) {
    let add = |name: &str, key: &str| iam.tag_role().role_name(name).tags(tag(key, "2")).send();
    let list = |name: &str| iam.list_role_tags().role_name(name).send();
    book.done("TagRole", add(NAME, "a").await);
    book.note("ListRoleTags", list(NAME).await, |answer| in_words(answer.tags()));
    book.done("TagRole with one of two", add(SPOILT, "a").await);
    book.done("TagRole in another case", add(SPOILT, "A").await);
    book.note("ListRoleTags in another case", list(SPOILT).await, |answer| in_words(answer.tags()));
    book.done("TagRole of nobody", add("nobody", "a").await);
    book.done("ListRoleTags of nobody", list("nobody").await);
    let many = (0..51).map(|n| tag(&format!("k{n}"), "")).collect();
    book.done("TagRole with 51 tags", iam.tag_role().role_name(NAME).set_tags(Some(many)).send().await);
    let remove = |key: &str| iam.untag_role().role_name(NAME).tag_keys(key).send();
    book.done("UntagRole", remove("b").await);
    book.done("UntagRole again", remove("b").await);
    book.note("ListRoleTags after UntagRole", list(NAME).await, |answer| in_words(answer.tags()));
}

async fn lists(Clients { iam, .. }: &Clients, book: &mut Transcript) {
    let list = || iam.list_roles().path_prefix(PATH);
    book.note("ListRoles", list().send().await, |answer| {
        let role = answer.roles().iter().find(|role| role.role_name == NAME);
        format!("{} {}", shown(role), answer.is_truncated)
    });
    book.note("ListRoles in pages", list().max_items(1).send().await, |answer| {
        format!("{} {} {}", answer.roles().len(), answer.is_truncated, answer.marker().is_some())
    });
    book.done("ListRoles, none at a time", list().max_items(0).send().await);
    book.done("ListRoles, 1,001 at a time", list().max_items(1001).send().await);
    book.done("ListRoles with a bad marker", list().marker("no marker").send().await);
    let profiles = iam.list_instance_profiles_for_role().role_name(NAME).send().await;
    book.note("ListInstanceProfilesForRole", profiles, |answer| format!("{:?}", answer.instance_profiles()));
    let nobody = iam.list_instance_profiles_for_role().role_name("nobody").send().await;
    book.done("ListInstanceProfilesForRole of nobody", nobody);

    let details = iam.get_account_authorization_details().filter(EntityType::Role).into_paginator().send();
    let pages = details.try_collect().await.map(|pages| {
        pages.into_iter().flat_map(|page| page.role_detail_list.unwrap_or_default()).collect::<Vec<RoleDetail>>()
    });
    book.note("GetAccountAuthorizationDetails", pages, |roles| {
        let role = roles.iter().find(|role| role.role_name() == Some(NAME)).expect("the role");
        format!(
            "{:?} {:?} {:?} {:?} {:?} {}",
            role.path,
            role.role_policy_list()
                .iter()
                .map(|p| decoded(p.policy_document().unwrap_or_default()))
                .collect::<Vec<_>>(),
            role.attached_managed_policies(),
            role.instance_profile_list(),
            role.assume_role_policy_document.as_deref().map(decoded),
            in_words(role.tags()),
        )
    });
    book.note("GetAccountSummary", iam.get_account_summary().send().await, |answer| {
        let quota = |key: &str| answer.summary_map()?.iter().find(|(known, _)| known.as_str() == key).map(|(_, n)| *n);
        format!("{:?} {:?}", quota("AssumeRolePolicySizeQuota"), quota("AttachedPoliciesPerRoleQuota"))
    });
}

async fn deleting(Clients { iam, .. }: &Clients, book: &mut Transcript) {
    let delete = |name: &str| iam.delete_role().role_name(name).send();
    book.done("DeleteRole with policies of both kinds", delete(NAME).await);
    let detach = iam.detach_role_policy().role_name(NAME).policy_arn(MANAGED);
    book.done("DetachRolePolicy of AWS", detach.send().await);
    book.done("DeleteRole with an inline policy", delete(NAME).await);
    let policy = iam.delete_role_policy().role_name(NAME).policy_name("p");
    book.done("DeleteRolePolicy, the last", policy.send().await);
    book.done("DeleteRole", delete(NAME).await);
    book.done("DeleteRole again", delete(NAME).await);
    book.done("TagRole of a role that was", iam.tag_role().role_name(NAME).tags(tag("a", "b")).send().await);
}

async fn providers(Clients { iam, .. }: &Clients, book: &mut Transcript) {
    let url = "https://model-agrees.example.com/x";
    let arn = "arn:aws:iam::123456789012:oidc-provider/model-agrees.example.com/x";
    let nothing = "arn:aws:iam::123456789012:oidc-provider/model-agrees.example.com/nothing";
    let thumbprint = "a".repeat(40);
    let create = |url: &str| {
        iam.create_open_id_connect_provider().url(url).client_id_list("openshift").thumbprint_list(&thumbprint)
    };
    let tagged = create(url).tags(tag("k", "v")).tags(tag("l", "w"));
    book.note("CreateOpenIDConnectProvider", tagged.send().await, |answer| {
        format!("{:?}", answer.open_id_connect_provider_arn)
    });
    book.done("CreateOpenIDConnectProvider again", create(url).send().await);
    let by_case = create("https://case-model-agrees.example.com").tags(tag("k", "v")).tags(tag("K", "w"));
    book.done("CreateOpenIDConnectProvider with tags that differ in case", by_case.send().await);
    book.done("CreateOpenIDConnectProvider over HTTP", create("http://plain-model-agrees.example.com").send().await);
    let short = iam.create_open_id_connect_provider().url("https://short-model-agrees.example.com");
    let short = short.thumbprint_list("abc");
    book.done("CreateOpenIDConnectProvider with a short thumbprint", short.send().await);
    let get = |arn: &str| iam.get_open_id_connect_provider().open_id_connect_provider_arn(arn).send();
    let show = |answer: &aws_sdk_iam::operation::get_open_id_connect_provider::GetOpenIdConnectProviderOutput| {
        let (audiences, thumbprints) = (sorted(answer.client_id_list()), answer.thumbprint_list());
        format!("{:?} {audiences} {thumbprints:?} {}", answer.url, in_words(answer.tags()))
    };
    book.note("GetOpenIDConnectProvider", get(arn).await, show);
    book.done("GetOpenIDConnectProvider of nothing", get(nothing).await);
    let bare = iam.create_open_id_connect_provider().url("https://model-agrees-3.example.com").send().await;
    book.done("CreateOpenIDConnectProvider with nothing but a URL", bare);
    let bare = get("arn:aws:iam::123456789012:oidc-provider/model-agrees-3.example.com").await;
    book.note("GetOpenIDConnectProvider with a thumbprint that AWS fetched", bare, |answer| {
        format!("{}", answer.thumbprint_list().len())
    });

    let add = |arn: &str, audience: &str| {
        iam.add_client_id_to_open_id_connect_provider().open_id_connect_provider_arn(arn).client_id(audience).send()
    };
    let remove = |arn: &str, audience: &str| {
        let call = iam.remove_client_id_from_open_id_connect_provider().open_id_connect_provider_arn(arn);
        call.client_id(audience).send()
    };
    book.done("AddClientIDToOpenIDConnectProvider", add(arn, "sts.amazonaws.com").await);
    book.done("AddClientIDToOpenIDConnectProvider of nothing", add(nothing, "a").await);
    book.done("RemoveClientIDFromOpenIDConnectProvider", remove(arn, "openshift").await);
    book.done("RemoveClientIDFromOpenIDConnectProvider again", remove(arn, "openshift").await);
    book.done("RemoveClientIDFromOpenIDConnectProvider of nothing", remove(nothing, "a").await);
    book.note("GetOpenIDConnectProvider with other audiences", get(arn).await, show);
    let tags =
        |arn: &str| iam.tag_open_id_connect_provider().open_id_connect_provider_arn(arn).tags(tag("k", "2")).send();
    book.done("TagOpenIDConnectProvider", tags(arn).await);
    book.done("TagOpenIDConnectProvider of nothing", tags(nothing).await);
    let untag = iam.untag_open_id_connect_provider().open_id_connect_provider_arn(arn).tag_keys("l").send().await;
    book.done("UntagOpenIDConnectProvider", untag);
    let list = iam.list_open_id_connect_provider_tags().open_id_connect_provider_arn(arn).send().await;
    book.note("ListOpenIDConnectProviderTags", list, |answer| in_words(answer.tags()));
    book.note("ListOpenIDConnectProviders", iam.list_open_id_connect_providers().send().await, |answer| {
        let arns = answer.open_id_connect_provider_list().iter().filter_map(|entry| entry.arn.clone());
        sorted(&arns.filter(|arn| arn.contains("oidc-provider/model-agrees")).collect::<Vec<_>>())
    });
    let delete = |arn: &str| iam.delete_open_id_connect_provider().open_id_connect_provider_arn(arn).send();
    book.done("DeleteOpenIDConnectProvider", delete(arn).await);
    book.done("DeleteOpenIDConnectProvider again", delete(arn).await);
}

async fn dates(Clients { iam, .. }: &Clients, book: &mut Transcript) {
    let create = iam.create_role().role_name("model-agrees-dates").path(PATH).assume_role_policy_document(TRUST).send();
    let made = create.await.expect("CreateRole").role.expect("a role");
    let get = iam.get_role().role_name("model-agrees-dates").send().await;
    let show = |used: Option<&RoleLastUsed>| format!("{:?}", used.and_then(|used| used.last_used_date));
    book.note("GetRole of a role that was never used", get, |answer| {
        let role = answer.role().expect("a role");
        format!("{} {}", role.create_date == made.create_date, show(role.role_last_used()))
    });
    let details = iam.get_account_authorization_details().filter(EntityType::Role).send().await;
    book.note("GetAccountAuthorizationDetails of a role that was never used", details, |answer| {
        let role = answer.role_detail_list().iter().find(|role| role.role_name() == Some("model-agrees-dates"));
        let role = role.expect("the role");
        format!("{} {}", role.create_date == Some(made.create_date), show(role.role_last_used()))
    });
    let list = iam.list_roles().path_prefix(PATH).send().await;
    book.note("ListRoles of a role that was never used", list, |answer| {
        let role = answer.roles().iter().find(|role| role.role_name == "model-agrees-dates").expect("the role");
        format!("{} {:?}", role.create_date == made.create_date, role.role_last_used)
    });
    let arn = "arn:aws:iam::123456789012:oidc-provider/model-agrees-3.example.com";
    let provider = iam.get_open_id_connect_provider().open_id_connect_provider_arn(arn).send().await;
    book.note("GetOpenIDConnectProvider with its date", provider, |answer| {
        let age = answer.create_date.map(|date| (date.secs() - made.create_date.secs()).abs());
        format!("{:?}", age.map(|seconds| seconds < 60))
    });
}

async fn sessions(Clients { iam, sts, .. }: &Clients, book: &mut Transcript) {
    book.note("GetCallerIdentity", sts.get_caller_identity().send().await, |answer| format!("{:?}", answer.account));
    let create = iam.create_role().role_name("model-agrees-session").assume_role_policy_document(TRUST).send().await;
    let arn = create.expect("a role").role.expect("a role").arn;
    let assume = |arn: &str| sts.assume_role().role_arn(arn).role_session_name("me");
    book.note("AssumeRole", assume(&arn).send().await, |answer| {
        let user = answer.assumed_role_user().map(|user| user.arn.clone());
        let key = answer.credentials().map(|credentials| credentials.access_key_id.len());
        format!("{user:?} {key:?}")
    });
    book.done("AssumeRole of nobody", assume(&format!("{arn}-not")).send().await);
    book.done("AssumeRole for a minute", assume(&arn).duration_seconds(60).send().await);
    book.done("AssumeRole for 13 hours", assume(&arn).duration_seconds(46800).send().await);
    book.done("AssumeRole for longer than the role allows", assume(&arn).duration_seconds(7200).send().await);
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build().expect("a tag")
}

/// A role without its id and dates.
fn shown(role: Option<&Role>) -> String {
    let Some(role) = role else { return "no role".to_owned() };
    format!(
        "{} {} {} {:?} {:?} {:?} {:?} {}",
        role.role_name,
        role.path,
        role.arn,
        role.assume_role_policy_document.as_deref().map(decoded),
        role.description,
        role.max_session_duration,
        role.permissions_boundary.as_ref().and_then(|boundary| boundary.permissions_boundary_arn.as_deref()),
        in_words(role.tags()),
    )
}

/// A document with its meaning only; as it is when it has none.
fn decoded(document: &str) -> String {
    let text = percent_decode_str(document).decode_utf8_lossy();
    serde_json::from_str::<serde_json::Value>(&text).map_or_else(|_| text.to_string(), |value| value.to_string())
}

fn in_words(tags: &[Tag]) -> String {
    sorted(&tags.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect::<Vec<_>>())
}

fn sorted(list: &[String]) -> String {
    let mut list = list.to_vec();
    list.sort();
    list.join(", ")
}
