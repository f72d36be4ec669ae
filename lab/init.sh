#!/bin/sh
# The first process of a node: a writable root over the host's read-only file system, the node's
# own disks and links, then the agent. Settings come from the file that the kernel command line
# names: NODE PYTHON VENV_PYTHON CHECKOUT MODULES HOST_DIR MACHINE_ID NICS CONTROL MOUNTS HOSTS.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 LC_ALL=C.UTF-8 HOME=/root
# No udev runs in a node; without this LVM waits for one.
export DM_DISABLE_UDEV=1

mount -t proc proc /proc
for word in $(cat /proc/cmdline); do
    case $word in lab_settings=*) . "${word#*=}" ;; esac
done

# Overlay: the upper layer lies in the node's memory, the host is never written.
modprobe -d "$MODULES" overlay
mount -t tmpfs tmpfs /run
mkdir /run/upper /run/work /run/root
mount -t overlay overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work /run/root
cd /run/root || exit 1
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts -o gid=5,mode=620,ptmxmode=666
for place in dev/shm run tmp mnt media; do
    mount -t tmpfs tmpfs $place
done
# A checkout in one of these places is still to be seen, read-only.
case $CHECKOUT/ in
/tmp/* | /mnt/* | /media/* | /dev/shm/*)
    mkdir -p ".$CHECKOUT"
    mount --bind "$CHECKOUT" ".$CHECKOUT"
    ;;
esac
mkdir -p host lib/modules run/lock run/lvm run/old
mount --bind "$MODULES/lib/modules" lib/modules
mount -t hostfs none host -o "$HOST_DIR"
# A chroot would not do: programs started by the kernel (DRBD's handlers) run at its real root.
pivot_root . run/old
umount -l /run/old
rmdir /run/old

# What the host knows about itself is not the node's.
rm -rf /etc/lvm/archive /etc/lvm/backup /etc/lvm/devices /etc/target /var/target \
    /etc/drbd.d/*.res /var/lib/drbd /etc/iscsi/nodes /etc/iscsi/send_targets /etc/iscsi/ifaces \
    /var/lib/iscsi /var/lib/samba /etc/exports /etc/exports.d /etc/ssh
mkdir -p /etc/target /var/target/pr /var/target/alua /var/lib/drbd /etc/lvm/archive \
    /etc/lvm/backup /etc/iscsi /var/lib/samba/private /var/lib/iscsi
# Nor what its administrator keeps at home, except where a Python we need or the checkout lie in it.
for place in ~root/.[!.]*; do
    case $PYTHON:$VENV_PYTHON:$CHECKOUT/ in *"$place/"*) continue ;; esac
    if [ -d "$place" ]; then mount -t tmpfs tmpfs "$place"; else rm -f "$place"; fi
done
echo "$NODE" >/etc/hostname
hostname "$NODE"
rm -f /etc/machine-id
echo "$MACHINE_ID" >/etc/machine-id
echo "InitiatorName=iqn.2026-01.org.holdfast.lab:$NODE" >/etc/iscsi/initiatorname.iscsi
{
    echo "127.0.0.1 localhost"
    echo "::1 localhost"
    for entry in $HOSTS; do echo "${entry%%=*} ${entry#*=}"; done
} >/etc/hosts

modprobe configfs
mount -t configfs configfs /sys/kernel/config
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null

for entry in $MOUNTS; do # device:filesystem:directory
    device=${entry%%:*}
    rest=${entry#*:}
    mkdir -p "${rest#*:}"
    mount -t "${rest%%:*}" "$device" "${rest#*:}" || echo "lab: cannot mount $device"
done

ip link set lo up
for entry in $NICS; do # vecN:name:address/length
    rest=${entry#*:}
    ip link set "${entry%%:*}" name "${rest%%:*}"
    ip addr add "${rest#*:}" dev "${rest%%:*}"
    ip link set "${rest%%:*}" up
done
# The agent's wire stays out of sight: a namespace of its own, no routes and no filters to meet.
ip netns add lab-control
ip link set "${CONTROL%%:*}" netns lab-control
ip -n lab-control link set "${CONTROL%%:*}" name lab0
ip -n lab-control addr add "${CONTROL#*:}" dev lab0
ip -n lab-control link set lab0 up

# This shell stays process 1 and collects orphans while it waits for the agent.
cd /
while :; do
    # The kernel puts what it does not know of its command line into the environment: left behind.
    env -i PATH=$PATH HOME=/root LANG=$LANG LC_ALL=$LC_ALL DM_DISABLE_UDEV=1 TERM=linux \
        PYTHONPATH="$CHECKOUT" PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -s -m lab.agent
    echo "lab: the agent of node $NODE ended with code $?; it is started again"
    sleep 0.2
done
