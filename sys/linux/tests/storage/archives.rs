//! Templates from archives nobody has looked at.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use warder_linux::process::Exit;
use warder_linux::storage::Draft;
use warder_wire::TemplateName;

use crate::support::{Instance, ended};

/// An archive of a directory, as a descriptor.
pub(crate) fn archive(script: &str) -> File {
    let dir = tempfile::tempdir().expect("directory");
    let out = dir.path().join("out.tar");
    let made = Command::new("python3")
        .args(["-c", &format!("import tarfile, io, sys\nt = tarfile.open(sys.argv[1], 'w')\ndef add(name, kind=tarfile.REGTYPE, data=b'', mode=0o644, uid=0, gid=0, link='', dev=(0, 0)):\n    i = tarfile.TarInfo(name); i.type = kind; i.size = len(data); i.mode = mode; i.uid = uid; i.gid = gid; i.linkname = link; i.devmajor, i.devminor = dev\n    t.addfile(i, io.BytesIO(data))\n{script}\nt.close()")])
        .arg(&out)
        .status()
        .expect("python3");
    assert!(made.success());
    File::open(out).expect("archive")
}

pub(crate) fn import(instance: &mut Instance, name: &TemplateName, tar: &File) -> (Exit, Draft) {
    let draft = instance.store.draft(name, None).expect("draft");
    let process = instance
        .store
        .import_start(&draft, &instance.users, tar.as_fd())
        .expect("import");
    ended(&process);
    let exit = process.try_wait().expect("wait").expect("ended");
    (exit, draft)
}

/// As privd ends an import; whether there is a template now.
fn finish(instance: &mut Instance, (exit, draft): (Exit, Draft)) -> bool {
    let whole = exit == Exit::Code(0) && instance.store.import_end(&draft).is_ok();
    if whole {
        instance.store.keep(&draft).expect("keep");
    }
    instance.store.settle(draft, whole).expect("settle");
    whole
}

pub(crate) fn an_archive_becomes_a_template() {
    let mut instance = Instance::new();
    let name = TemplateName::new("own").expect("name");
    let tar = archive(
        "add('bin', tarfile.DIRTYPE, mode=0o755)\nadd('bin/tool', data=b'#!x', mode=0o4755)\nadd('home/user/f', data=b'hello', uid=1000, gid=1000)\nadd('dev/null', tarfile.CHRTYPE, dev=(1, 3))\nadd('etc/passwd', data=b'root:x:0:0::/:/bin/sh\\n')",
    );
    let done = import(&mut instance, &name, &tar);
    assert_eq!(done.0, Exit::Code(0));
    assert_eq!(instance.templates(), []);
    assert!(instance.store.is_drafted(&name));
    assert!(finish(&mut instance, done));
    assert!(instance.store.has_template(&name) && !instance.store.is_drafted(&name));
    let tree = instance.bottom("own").join("tree");
    let data = |path: &str| std::fs::symlink_metadata(tree.join(path)).expect(path);
    assert_eq!(
        (data("bin/tool").uid(), data("bin/tool").mode() & 0o7777),
        (0, 0o4755)
    );
    assert_eq!(
        (data("home/user/f").uid(), data("home/user/f").gid()),
        (1000, 1000)
    );
    assert!(
        ["dev", "proc", "sys", "run", "tmp"]
            .iter()
            .all(|dir| data(dir).is_dir())
    );
    assert!(!tree.join("dev/null").exists(), "devices are the cell's");
    assert!(instance.store.discard_template(&name).expect("discard"));
    assert!(!instance.store.discard_template(&name).expect("discard"));
}

/// tar reads a name as long as the archive says it is into memory, here more than it may have.
pub(crate) fn an_archive_cannot_take_the_hosts_memory() {
    let mut instance = Instance::new();
    let name = TemplateName::new("huge").expect("name");
    let script = "i = tarfile.TarInfo('././@LongLink'); i.type = b'L'; i.size = 5 << 28\nt.fileobj.write(i.tobuf(tarfile.GNU_FORMAT)); t.fileobj.write(b'name')\nt.fileobj.truncate(512 + (5 << 28)); t.offset = t.fileobj.seek(0, 2)\nadd('file', data=b'x')";
    let done = import(&mut instance, &name, &archive(script));
    assert_eq!(done.0, Exit::Code(2));
    assert!(!finish(&mut instance, done));
}

pub(crate) fn hostile_archives_stay_inside() {
    let mut instance = Instance::new();
    let name = TemplateName::new("hostile").expect("name");
    let outside = instance.dir.path().join("outside");
    std::fs::create_dir(&outside).expect("directory");
    std::fs::set_permissions(&outside, PermissionsExt::from_mode(0o777)).expect("mode");
    let target = outside.display();
    let attempts = [
        format!("add('../../outside/a', data=b'x')\nadd('{target}/b', data=b'x')"),
        format!("add('l', tarfile.SYMTYPE, link='{target}')\nadd('l/c', data=b'x')"),
        "add('d', tarfile.SYMTYPE, link='../../../../outside')\nadd('d/c', data=b'x')".to_owned(),
        format!("add('h', tarfile.LNKTYPE, link='{target}/../cells')"),
        "add('disk', tarfile.BLKTYPE, mode=0o666, dev=(254, 0))".to_owned(),
        "add('proc', tarfile.SYMTYPE, link='/etc')".to_owned(),
        "add('out', uid=70000, gid=70000)".to_owned(),
    ];
    for script in attempts {
        let done = import(&mut instance, &name, &archive(&script));
        let kept = finish(&mut instance, done);
        assert_eq!(
            std::fs::read_dir(&outside).expect("outside").count(),
            0,
            "{script}"
        );
        if kept {
            // Whatever it made of it lies in the template.
            instance.store.discard_template(&name).expect("discard");
        }
        let trash = instance.dir.path();
        let devices = Command::new("find")
            .arg(trash)
            .args(["-type", "b", "-o", "-type", "c", "!", "-path", "*/mask/*"])
            .output()
            .expect("find");
        assert_eq!(String::from_utf8_lossy(&devices.stdout), "", "{script}");
        assert_eq!(instance.templates(), []);
    }
    let script = "add('disk', tarfile.BLKTYPE, mode=0o666, dev=(254, 0))";
    let done = import(&mut instance, &name, &archive(script));
    assert_ne!(
        done.0,
        Exit::Code(0),
        "a device is refused, not skipped in silence"
    );
    assert!(!finish(&mut instance, done));
    let script = "add('proc', tarfile.SYMTYPE, link='/etc')";
    let done = import(&mut instance, &name, &archive(script));
    assert_eq!(done.0, Exit::Code(0));
    assert!(!finish(&mut instance, done), "no mount point");
    let noise = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(noise.path(), [0xa5; 10_000]).expect("noise");
    let done = import(&mut instance, &name, noise.as_file());
    assert!(!finish(&mut instance, done));
    instance.store.empty_trash().expect("trash");
}
