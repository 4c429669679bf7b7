//! Actions are compared without regard to case, and told as people write them.

/// A text with the letters of a pattern that matches it, without regard to case, as the pattern spells them; `None` where
/// it does not match.
pub(super) fn spelt_as(pattern: &str, text: &str) -> Option<String> {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let mut out = text.clone();
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some('?') => {
                p += 1;
                t += 1;
            }
            Some(letter) if letter.eq_ignore_ascii_case(&text[t]) => {
                out[t] = *letter;
                p += 1;
                t += 1;
            }
            _ => {
                let (star, from) = retry?;
                // The star takes one more, and what was matched behind it begins anew.
                out[from..t].copy_from_slice(&text[from..t]);
                retry = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*').then(|| out.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_the_spelling_of_what_matches_it() {
        for (pattern, text, expected) in [
            ("s3:DeleteBucket", "s3:deletebucket", Some("s3:DeleteBucket")),
            ("s3:Delete*", "s3:deletebucket", Some("s3:Deletebucket")),
            ("s3:*Bucket", "s3:deletebucketxbucket", Some("s3:deletebucketxBucket")),
            ("S3:?et*O*", "s3:getxo", Some("S3:getxO")),
            ("*", "s3:getobject", Some("s3:getobject")),
            ("s3:Put*", "s3:getobject", None),
            ("s3:Get", "s3:getobject", None),
        ] {
            assert_eq!(spelt_as(pattern, text).as_deref(), expected, "{pattern} {text}");
        }
    }
}
