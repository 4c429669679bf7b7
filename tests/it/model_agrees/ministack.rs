//! Where MiniStack 1.5.33 does otherwise than AWS in IAM and STS. In every other situation it agrees with the model, also in
//! those in which moto does not: boundaries and roles that do not exist, policies that are attached, profiles of nobody.

use super::Difference;

/// Why, and in which situations. What it takes and AWS would not shows in what comes after.
const BY_REASON: &[(&str, &[&str])] = &[
    ("MiniStack does not escape what means something in XML", &["CreateRole", "GetRole"]),
    (
        "MiniStack shows an empty description where none was set",
        &["CreateRole with the least", "GetRole with the least"],
    ),
    ("MiniStack takes names that differ in case for different ones", &["CreateRole in another case"]),
    (
        "MiniStack does not check this parameter",
        &[
            "CreateRole with 65 characters",
            "CreateRole with a space",
            "CreateRole with a bad path",
            "CreateRole for 30 minutes",
            "CreateRole for 13 hours",
            "UpdateRole for a minute",
            "ListRoles, none at a time",
            "ListRoles, 1,001 at a time",
            "CreateOpenIDConnectProvider over HTTP",
            "CreateOpenIDConnectProvider with a short thumbprint",
        ],
    ),
    ("MiniStack lets anyone set the tags of AWS", &["CreateRole with a tag of AWS"]),
    (
        "MiniStack does not read trust policies",
        &[
            "a trust policy that is no JSON",
            "a trust policy with a resource",
            "a trust policy without a principal",
            "a trust policy without an action",
            "a trust policy with an action of S3",
            "a trust policy with an odd principal",
            "a trust policy without statements",
            "a trust policy that is too long",
            "UpdateAssumeRolePolicy without JSON",
        ],
    ),
    ("MiniStack has taken a trust policy that is no JSON", &["GetRole with a boundary", "GetRole without a boundary"]),
    (
        "MiniStack does not read identity policies",
        &["PutRolePolicy with an action of no service", "PutRolePolicy with a principal"],
    ),
    ("MiniStack has no quota for inline policies", &["PutRolePolicy of 11,000 characters"]),
    (
        "MiniStack has taken one policy more",
        &["ListRolePolicies", "GetAccountAuthorizationDetails", "ListAttachedRolePolicies"],
    ),
    (
        "MiniStack gives all at once, whatever MaxItems says",
        &["ListRolePolicies in pages", "ListRoles in pages", "ListRoles with a bad marker"],
    ),
    ("MiniStack does not look an attached policy up", &["AttachRolePolicy of nothing"]),
    ("MiniStack has no quota for tags", &["TagRole with 51 tags"]),
    ("MiniStack has taken more tags than AWS would", &["ListRoleTags after UntagRole", "ListRoles"]),
    (
        "MiniStack has attached a policy that does not exist, which keeps the role",
        &["DeleteRole", "DeleteRole again", "TagRole of a role that was"],
    ),
    (
        "MiniStack shows a provider's URL with https://, and puts it before that once more with every change",
        &["GetOpenIDConnectProvider", "GetOpenIDConnectProvider with other audiences"],
    ),
    ("MiniStack fetches no thumbprint", &["GetOpenIDConnectProvider with a thumbprint that AWS fetched"]),
    (
        "MiniStack does not know the tags of providers once they are made",
        &[
            "TagOpenIDConnectProvider",
            "TagOpenIDConnectProvider of nothing",
            "UntagOpenIDConnectProvider",
            "ListOpenIDConnectProviderTags",
        ],
    ),
    ("MiniStack says that a provider is not there when it is deleted again", &["DeleteOpenIDConnectProvider again"]),
    (
        "MiniStack gives credentials for any time",
        &["AssumeRole for a minute", "AssumeRole for 13 hours", "AssumeRole for longer than the role allows"],
    ),
];

pub(super) fn differences() -> Vec<Difference> {
    let of = |(why, situations): &(&'static str, &'static [&'static str])| {
        let why = *why;
        situations.iter().map(move |situation| Difference { situation, why })
    };
    BY_REASON.iter().flat_map(of).collect()
}
