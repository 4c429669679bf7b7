//! A cluster as `ccoctl aws create-all` leaves it, in the model, with its Secrets.

use serde_json::json;

use super::Stage;
use crate::adoption::Signer;
use crate::model::{Document, PublicAccessBlock, Tags, Visible};
use crate::scene::{ACCOUNT, REGION};

const AT: Visible = Visible::AtOnce;

impl Stage {
    fn ccoctl_tags(&self) -> Tags {
        let mark = format!("openshift.io/cloud-credential-operator/{}", self.name);
        Tags::from([(mark, "owned".to_owned()), ("Name".to_owned(), self.name.clone())])
    }

    /// Issuer, roles and Secrets of these requests.
    pub fn made_by_ccoctl(&self, key: &str, requests: &[&str]) {
        let (bucket, url) = (self.bucket(), format!("https://{}", self.issuer_host()));
        self.model.put_bucket(ACCOUNT, REGION, &bucket, AT);
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Sid": "AllowReadPublicAccess", "Principal": "*",
            "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [format!("arn:aws:s3:::{bucket}/*")]}]});
        self.model.alter_bucket(&bucket, AT, |found| {
            found.policy = Some(policy.to_string().into());
            found.tags = Some(self.ccoctl_tags());
            found.block = Some(PublicAccessBlock {
                block_public_acls: true,
                ignore_public_acls: true,
                block_public_policy: false,
                restrict_public_buckets: false,
            });
        });
        let discovery = format!(
            "{{\n\t\"issuer\": \"{url}\",\n\t\"jwks_uri\": \"{url}/keys.json\",\n    \"response_types_supported\": [\n        \"id_token\"\n    ],\n    \"subject_types_supported\": [\n        \"public\"\n    ],\n    \"id_token_signing_alg_values_supported\": [\n        \"RS256\"\n    ],\n    \"claims_supported\": [\n        \"aud\",\n        \"exp\",\n        \"sub\",\n        \"iat\",\n        \"iss\",\n        \"sub\"\n    ]\n}}"
        );
        for (path, body) in [(".well-known/openid-configuration", discovery), ("keys.json", Signer::of(key).jwks())] {
            self.model.put_object(&bucket, path, body, "application/octet-stream", AT);
        }
        self.model.put_provider(ACCOUNT, &self.issuer_host(), &["openshift", "sts.amazonaws.com"], AT);
        self.model.alter_provider(ACCOUNT, &self.provider_arn(), AT, |found| found.tags = self.ccoctl_tags());
        self.sites[0].plane.ensure_namespace(&self.name);
        for request in requests {
            self.role_by_ccoctl(request);
            self.secret_by_ccoctl(request);
        }
    }

    fn role_by_ccoctl(&self, request: &str) {
        let (role, name) = (self.role_name(request), &self.name);
        let subject =
            json!({format!("{}:sub", self.issuer_host()): [format!("system:serviceaccount:{name}:{request}")]});
        let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
            "Principal": {"Federated": self.provider_arn()}, "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": subject}}]});
        let allowed = json!({"Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "*"}]});
        self.model.put_role(ACCOUNT, &role, &trust.to_string(), AT);
        self.model.alter_role(ACCOUNT, &role, AT, |found| {
            found.description = Some(format!("OpenShift role for {name}/{request}-creds"));
            found.tags = self.ccoctl_tags();
            found.inline.insert(role.clone(), Document::new(&allowed.to_string()));
        });
    }

    fn secret_by_ccoctl(&self, request: &str) {
        let profile = format!(
            "[default]\nsts_regional_endpoints = regional\nrole_arn = {}\nweb_identity_token_file = /var/run/secrets/openshift/serviceaccount/token",
            self.role_arn(request)
        );
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": format!("{request}-creds"), "namespace": self.name},
            "stringData": {"credentials": profile},
        });
        self.sites[0].plane.apply_ok(&secret.to_string());
    }
}
