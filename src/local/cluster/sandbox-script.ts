/**
 * The script around a container: stays outside, and exits with the container's exit code, 128 + n after signal n. Its child is process 1 of
 * a pid namespace created before. (`unshare --fork` would do, but reports a killed child as an error of its own.) It must not write about a
 * killed child to the container's output.
 */
export const OUTER_SCRIPT = `exec 4>&2 2>/dev/null
setpriv --pdeathsig KILL sh "$@" 2>&4 4>&-
exit $?
`;

/** Fails unless `$1` is a program, with a container runtime's messages. */
const FIND_COMMAND = `case $1 in
  */*) [ -e "$1" ] || fail "exec: \\"$1\\": stat $1: no such file or directory"
    [ -x "$1" ] && [ ! -d "$1" ] || fail "exec: \\"$1\\": permission denied" ;;
  *) command -v -- "$1" >/dev/null || fail "exec: \\"$1\\": executable file not found in \\$PATH" ;;
esac
`;

/**
 * Runs another command in a running container. Arguments: the working directory, the container's PATH and the command. Writes `error …` to
 * descriptor 3 when there is no such command.
 */
export const EXEC_SCRIPT = `fail() { printf 'error %s\\n' "$*" >&3; exit 126; }
workdir=$1 PATH=$2
shift 2
cd "$workdir" 2>/dev/null || cd /
${FIND_COMMAND}exec 3>&-
exec "$@"
`;

/**
 * The script that becomes a container, run by `sh` as process 1 of new user, mount, pid, uts and ipc namespaces.
 *
 * Arguments: an empty directory for the root, the host name, the working directory, `ro` or `rw` for the root itself, the container's PATH,
 * then triples `ro|rw SOURCE TARGET` of mounts, `--`, and the command. Writes `pid N` (its number outside), then `started` or `error …` to
 * descriptor 3.
 *
 * The root is a tmpfs, not an overlay, because unprivileged overlays are not permitted on many machines.
 */
export const SANDBOX_SCRIPT = `set -eu
root=$1 hostname=$2 workdir=$3 root_mode=$4 container_path=$5
shift 5
fail() { printf 'error %s\\n' "$*" >&3; exit 128; }
# Still the host's /proc: this is the pid by which signals can be sent from outside.
read -r pid rest </proc/self/stat
printf 'pid %s\\n' "$pid" >&3
mount -t tmpfs -o mode=0755 reentry "$root" || fail "cannot mount a tmpfs as root"
for name in bin sbin usr lib lib32 lib64 libx32 etc opt nix run/systemd/resolve; do
  if [ -L "/$name" ]; then ln -s "$(readlink "/$name")" "$root/$name"
  elif [ -d "/$name" ]; then
    mkdir -p "$root/$name"
    mount --rbind "/$name" "$root/$name" || fail "cannot bind /$name"
  fi
done
# Flags that the host's mounts carry (nosuid, nodev …) are locked in a user namespace: the remount must repeat them.
prefix=$(readlink -f "$root")
while read -r _ _ _ _ point options rest; do
  case $point in
    "$prefix"/*) mount -o "remount,bind,ro,\${options#r[wo],}" "$(printf '%b' "$point")" || fail "cannot make $point read-only" ;;
  esac
done </proc/self/mountinfo
cd "$root"
mkdir -p tmp var/tmp var/run var/log run root home proc sys dev/shm mnt srv
chmod 1777 tmp var/tmp dev/shm
for name in null zero full random urandom tty; do
  : >"dev/$name"
  mount --bind "/dev/$name" "dev/$name" || fail "cannot bind /dev/$name"
done
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
# Where the host's own /proc is masked (in a container), a new one is refused: then the host's must do.
mount -t proc proc proc 2>/dev/null || mount --rbind /proc proc || fail "cannot mount /proc"
while [ "$1" != -- ]; do
  mode=$1 source=$2 target=$root$3
  shift 3
  if [ -d "$source" ]; then mkdir -p "$target" || fail "cannot make the mount point \${target#"$root"}"
  elif [ ! -e "$target" ]; then mkdir -p "\${target%/*}" && : >"$target" || fail "cannot make the mount point \${target#"$root"}"
  fi
  mount --rbind "$source" "$target" || fail "cannot mount \${target#"$root"}"
  [ "$mode" = rw ] || mount -o remount,bind,ro "$target" || fail "cannot make \${target#"$root"} read-only"
done
shift
hostname "$hostname" 2>/dev/null || :
[ -d "$root$workdir" ] || mkdir -p "$root$workdir" || fail "cannot make the working directory $workdir"
mkdir .old
pivot_root . .old || fail "cannot change the root"
cd /
umount -l /.old
rmdir /.old
[ "$root_mode" = rw ] || mount -o remount,bind,ro / || fail "cannot make the root read-only"
cd "$workdir"
PATH=$container_path
${FIND_COMMAND}printf 'started\\n' >&3
exec 3>&-
exec "$@"
`;
