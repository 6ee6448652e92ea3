//! Where the demo keeps its files: a folder that only its owner can read.

use crate::domain::secret::Secret;
use crate::signing::SealingKey;
use crate::signing::random_text;
use anyhow::Context as _;
use std::fs;
use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Removed at the end.
    ephemeral: bool,
}

impl DataDir {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        create(path, true).with_context(|| format!("{} cannot be created", path.display()))?;
        let path = path.canonicalize().with_context(|| path.display().to_string())?;
        Ok(Self { path, ephemeral: false })
    }

    /// A fresh folder under a name that nobody can guess and that nobody may have made before.
    pub(crate) fn ephemeral() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(random_text("rolemint-dev-")?.reveal());
        create(&path, false).with_context(|| format!("{} cannot be created", path.display()))?;
        Ok(Self { path, ephemeral: true })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The key under which secrets are stored, made at the first start.
    pub(crate) fn encryption_key(&self) -> anyhow::Result<Secret<String>> {
        let path = self.file("encryption-key");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let key = match options.open(&path) {
            Ok(mut file) => {
                let key = SealingKey::generate_text()?;
                file.write_all(key.reveal().as_bytes())?;
                file.sync_all()?;
                key
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let text = fs::read_to_string(&path);
                let text = text.with_context(|| format!("{} cannot be read", path.display()))?;
                Secret::new(text.trim().to_owned())
            }
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be written", path.display()));
            }
        };
        SealingKey::parse(&key).with_context(|| path.display().to_string())?;
        Ok(key)
    }
}

fn create(path: &Path, may_exist: bool) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(may_exist);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.ephemeral
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "the demo's files are still there");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_can_read_it() {
        let data = DataDir::ephemeral().unwrap();
        let key = data.encryption_key().unwrap();
        assert_eq!(data.encryption_key().unwrap().reveal(), key.reveal());
        #[cfg(unix)]
        for (path, mode) in [(data.path.clone(), 0o700), (data.file("encryption-key"), 0o600)] {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
        let path = data.path.clone();
        let again = DataDir::open(&path.join("a/b")).unwrap();
        drop(again);
        assert!(path.join("a/b").is_dir(), "only an ephemeral folder is removed");
        fs::write(data.file("encryption-key"), "short").unwrap();
        assert!(data.encryption_key().is_err());
        drop(data);
        assert!(!path.exists());
    }
}
