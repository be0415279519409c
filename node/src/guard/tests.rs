use super::*;
use understudy_auth::{Grant, Narrowing, RootKey, Terms, attenuate, revocation_ids};

fn remote() -> Arc<Remote> {
    Arc::new(Remote { address: "127.0.0.1:9".parse().unwrap(), certificate: None })
}

fn section(root: &RootKey, revoked: Option<PathBuf>) -> AuthSection {
    AuthSection { root_keys: vec![root.public()], revoked }
}

fn token(root: &RootKey, until: Option<u64>) -> String {
    let grants =
        vec![Grant { right: Right::Read, namespace: "a".to_owned(), prefix: "x/".to_owned() }];
    root.create(&Terms { subject: Some("ann".to_owned()), grants, until }).unwrap()
}

fn headers(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
}

fn id(id: &str) -> Access<'_> {
    Access::Id { namespace: "a", id }
}

#[test]
fn without_keys_everybody_may_do_everything() {
    let guard = Arc::new(Guard::new(None).unwrap());
    let caller = guard.admit(&headers(&["nonsense"]), &remote(), "/").unwrap();
    assert!(caller.allow(Right::Admin, Access::Node).is_ok());
}

#[test]
fn with_keys_only_good_tokens_get_in() {
    let root = RootKey::generate();
    let guard = Arc::new(Guard::new(Some(&section(&root, None))).unwrap());
    let good = format!("Bearer {}", token(&root, None));
    let code = |values: &[&str]| {
        guard.admit(&headers(values), &remote(), "/").err().map_or("in", |denied| denied.code())
    };
    assert_eq!(code(&[&good]), "in");
    assert_eq!(code(&[&good.replace("Bearer", "bearer")]), "in");
    assert_eq!(code(&[]), "unauthenticated");
    assert_eq!(code(&["Bearer "]), "unauthenticated");
    assert_eq!(code(&["Basic YTpi"]), "unauthenticated");
    assert_eq!(code(&[&good, &good]), "unauthenticated");
    assert_eq!(code(&[&good["Bearer ".len()..]]), "unauthenticated");
    assert_eq!(
        code(&[&format!("Bearer {}", token(&RootKey::generate(), None))]),
        "unauthenticated"
    );
    assert_eq!(code(&[&format!("Bearer {}", token(&root, Some(1)))]), "token_expired");
    let caller = guard.admit(&headers(&[&good]), &remote(), "/").unwrap();
    assert!(caller.allow(Right::Read, id("x/1")).is_ok());
    for (right, access) in [
        (Right::Write, id("x/1")),
        (Right::Read, id("y")),
        (Right::Read, Access::Under { namespace: "a", prefix: "x" }),
        (Right::Read, Access::Under { namespace: "b", prefix: "x/" }),
        (Right::Monitor, Access::Node),
    ] {
        assert_eq!(caller.allow(right, access).unwrap_err().code(), "forbidden");
    }
}

/// Also on a connection that is open already.
#[test]
fn a_revoked_token_is_out_once_the_list_is_read_again() {
    let root = RootKey::generate();
    let path = std::env::temp_dir().join(format!("understudy-revoked-{}", std::process::id()));
    std::fs::write(&path, "# nobody\n").unwrap();
    let guard = Arc::new(Guard::new(Some(&section(&root, Some(path.clone())))).unwrap());
    let parent = token(&root, None);
    let narrowing = Narrowing { rights: vec![Right::Read], ..Narrowing::default() };
    let child = attenuate(&parent, &narrowing).unwrap();
    let caller = |text: &str| guard.admit(&headers(&[&format!("Bearer {text}")]), &remote(), "/");
    let (of_parent, of_child) = (caller(&parent).unwrap(), caller(&child).unwrap());

    let revoked = revocation_ids(&child).unwrap().last().unwrap().to_string();
    std::fs::write(&path, format!("{revoked}\n")).unwrap();
    guard.reload();
    assert_eq!(of_child.allow(Right::Read, id("x/1")).unwrap_err().code(), "token_revoked");
    assert_eq!(caller(&child).unwrap_err().code(), "token_revoked");
    assert!(of_parent.allow(Right::Read, id("x/1")).is_ok());

    // A bad list does not let anybody in again.
    std::fs::write(&path, "garbage\n").unwrap();
    guard.reload();
    assert!(caller(&child).is_err());
    let (count, problem) = guard.revoked().unwrap();
    assert_eq!(count, 1);
    assert!(problem.unwrap().contains("line 1"));
    std::fs::remove_file(&path).unwrap();
    guard.reload();
    assert!(caller(&child).is_err());
    std::fs::write(&path, "").unwrap();
    guard.reload();
    assert!(caller(&child).is_ok());
    assert_eq!(guard.revoked(), Some((0, None)));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn nothing_secret_shows() {
    let root = RootKey::generate();
    let guard = Arc::new(Guard::new(Some(&section(&root, None))).unwrap());
    let text = token(&root, None);
    let caller = guard.admit(&headers(&[&format!("Bearer {text}")]), &remote(), "/").unwrap();
    let shown = format!("{guard:?} {caller:?}");
    assert!(!shown.contains(&text) && !shown.contains(&text[20..60]), "{shown}");
}

#[test]
fn a_section_that_cannot_be_used_is_refused() {
    let root = RootKey::generate();
    let refused = |section: &AuthSection| format!("{:#}", Guard::new(Some(section)).unwrap_err());
    let none = AuthSection { root_keys: Vec::new(), revoked: None };
    assert!(refused(&none).contains("root keys"));
    let secret = AuthSection { root_keys: vec![root.secret()], revoked: None };
    assert!(refused(&secret).contains("public"));
    assert!(!refused(&secret).contains(&root.secret()));
    assert!(refused(&section(&root, Some("/nowhere/list".into()))).contains("/nowhere/list"));
}
