/* Run a command and let one system call of it, or of its children, fail, or kill a process before it makes the call.
 *
 *     faults LIST list COMMAND...           write each call to the file LIST: "CALL pid role number what it is on"
 *     faults LIST fail:CALL:ERRNO COMMAND...  the call is not made, and returns -ERRNO
 *     faults LIST short:CALL COMMAND...       the call, if a read or write, is given half of its bytes
 *     faults LIST kill:CALL COMMAND...        the process that is about to make the call is killed
 *     faults LIST kill-leader:CALL COMMAND... the command's own process is killed then
 *     faults LIST interrupt:CALL COMMAND..., interrupt-leader:CALL: the same with SIGINT
 *
 * CALL is PROCESS.INDEX, both from 0: processes in the order in which they begin, and the calls of each in its own order,
 * because how processes take turns differs from run to run. A process is no longer watched when it executes a program
 * other than the interpreter and the runtime's own ELF (a memfd): that is the container's. After the fault none is. At
 * the end of the command's own process this ends with its status. A child of ours, whose pid is the first line of LIST,
 * stays until all other processes have ended, to collect them: the machine's first process may take seconds for that,
 * and a pid namespace ends only then. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 4096
static struct { pid_t pid; long index; int inside; enum { AS_IT_IS, FAILED, SHORTENED } changed; unsigned long long length; } known[PROCESSES];
static int count;

static void die(const char *what) { perror(what); exit(99); }

static int find(pid_t pid)
{
    for (int i = 0; i < count; i++)
        if (known[i].pid == pid)
            return i;
    if (count == PROCESSES) { fputs("faults: too many processes\n", stderr); exit(99); }
    known[count].pid = pid;
    known[count].index = known[count].inside = known[count].changed = 0;
    return count++;
}

static int is_ours(pid_t pid)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/%d/exe", pid);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return strstr(path, "python") != NULL || strncmp(path, "/memfd:", 7) == 0;
}

static int is_one_of(long long call, const int *calls)
{
    for (; *calls >= 0; calls++)
        if (*calls == call) return 1;
    return 0;
}

/* By these an allocator gets memory, at other moments in each run; they are not counted. */
static const int not_counted[] = {SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_madvise, SYS_futex, -1};

/* What the first arguments of a call are. */
static const int paths[] = {SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_execve, SYS_chdir, SYS_rename, SYS_mkdir,
    SYS_rmdir, SYS_unlink, SYS_readlink, SYS_chmod, SYS_chown, SYS_lchown, SYS_mknod, SYS_statfs, SYS_umount2,
    SYS_truncate, SYS_inotify_add_watch, -1};
static const int paths_in_a_directory[] = {SYS_openat, SYS_mkdirat, SYS_mknodat, SYS_fchownat, SYS_newfstatat, SYS_unlinkat,
    SYS_renameat, SYS_renameat2, SYS_linkat, SYS_readlinkat, SYS_fchmodat, SYS_faccessat, SYS_faccessat2, SYS_utimensat,
    SYS_execveat, SYS_statx, SYS_open_tree, SYS_openat2, SYS_mount_setattr, SYS_move_mount, -1};
static const int descriptors[] = {SYS_read, SYS_write, SYS_close, SYS_fstat, SYS_lseek, SYS_pread64, SYS_pwrite64, SYS_readv,
    SYS_writev, SYS_ioctl, SYS_fcntl, SYS_flock, SYS_fsync, SYS_fdatasync, SYS_ftruncate, SYS_getdents64, SYS_fchdir,
    SYS_fchmod, SYS_fchown, SYS_setns, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_connect, SYS_bind, SYS_listen,
    SYS_accept4, SYS_getsockopt, SYS_setsockopt, SYS_fsconfig, SYS_fsmount, SYS_fgetxattr, SYS_fsetxattr, SYS_fstatfs,
    SYS_syncfs, SYS_pidfd_send_signal, SYS_epoll_ctl, SYS_finit_module, -1};
static const int options[] = {SYS_prctl, SYS_seccomp, SYS_keyctl, SYS_capget, SYS_socket, SYS_unshare, SYS_setpriority, -1};
static const int options_of_a_descriptor[] = {SYS_ioctl, SYS_fcntl, SYS_fsconfig, SYS_epoll_ctl, -1};

static void print_descriptor(FILE *list, pid_t pid, int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, fd == AT_FDCWD ? "/proc/%d/cwd" : "/proc/%d/fd/%d", pid, fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    fputs(path, list);
}

static void print_string(FILE *list, pid_t pid, unsigned long long address)
{
    char text[4096];
    size_t page = 4096 - address % 4096;
    struct iovec here = {text, sizeof text - 1}, there[] = {{(void *)address, page}, {(void *)(address + page), 4096}};
    ssize_t size = process_vm_readv(pid, &here, 1, there, 2, 0);
    if (size < 0) size = process_vm_readv(pid, &here, 1, there, 1, 0);
    text[size < 0 ? 0 : size] = 0;
    for (char *at = text; *at; at++)
        fputc(*at < ' ' ? '?' : *at, list);
}

/* Tell what the call is on, as far as that does not differ from run to run. */
static void describe(FILE *list, pid_t pid, const struct user_regs_struct *registers)
{
    long long call = registers->orig_rax;
    if (is_one_of(call, paths_in_a_directory)) {
        print_descriptor(list, pid, registers->rdi);
        fputc('/', list);
        print_string(list, pid, registers->rsi);
        if (call == SYS_openat && registers->rdx & (O_CREAT | O_TRUNC)) fputs(" made", list);
    } else if (is_one_of(call, paths))
        print_string(list, pid, registers->rdi);
    else if (is_one_of(call, descriptors))
        print_descriptor(list, pid, registers->rdi);
    else if (call == SYS_mount || call == SYS_symlinkat || call == SYS_symlink)
        print_string(list, pid, call == SYS_symlinkat ? registers->rdx : registers->rsi);
    else if (is_one_of(call, options))
        fprintf(list, "%lld", registers->rdi);
    if (is_one_of(call, options_of_a_descriptor)) fprintf(list, " %lld", registers->rsi);
}

/* procfs and cgroups take or give a value as a whole, or fail: half of a pid would be another process. */
static int can_be_short(pid_t pid, const struct user_regs_struct *registers)
{
    long long call = registers->orig_rax;
    char link[64], path[64];
    snprintf(link, sizeof link, "/proc/%d/fd/%llu", pid, registers->rdi);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    if (strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/sys/", 5) == 0) return 0;
    return call == SYS_read || call == SYS_write || call == SYS_pread64 || call == SYS_pwrite64;
}

/* The process is about to make a call, which shall fail or be given half of its bytes. */
static void change(int at, int fails, struct user_regs_struct *registers)
{
    known[at].changed = fails ? FAILED : SHORTENED;
    known[at].length = registers->rdx;
    if (fails)
        registers->orig_rax = -1;
    else if (registers->rdx > 1 && can_be_short(known[at].pid, registers))
        registers->rdx /= 2;
    ptrace(PTRACE_SETREGS, known[at].pid, 0, registers);
}

/* It has made the call. No call changes rdx, so the program may go on to use it. */
static void finish(int at, int error)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, known[at].pid, 0, &registers) != 0) return; /* it has been killed */
    if (known[at].changed == FAILED)
        registers.rax = -error;
    registers.rdx = known[at].length;
    ptrace(PTRACE_SETREGS, known[at].pid, 0, &registers);
    known[at].changed = AS_IT_IS;
}

/* Let all processes go, and collect them. A call that was changed ends first. */
static void let_go(int error)
{
    for (int i = 0; i < count; i++)
        ptrace(PTRACE_INTERRUPT, known[i].pid, 0, 0);
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0) return;
        if (!WIFSTOPPED(status)) continue;
        int at = find(pid), signal = WSTOPSIG(status);
        if (status >> 16 || signal == (SIGTRAP | 0x80)) signal = 0;
        if (known[at].changed && WSTOPSIG(status) == (SIGTRAP | 0x80))
            finish(at, error);
        ptrace(known[at].changed ? PTRACE_SYSCALL : PTRACE_DETACH, pid, 0, signal);
    }
}

int main(int argc, char **argv)
{
    enum { LIST, FAIL, SHORT, SIGNAL, SIGNAL_LEADER } mode;
    int sent = SIGKILL;
    long wanted = -1;
    int wanted_process = -1, error = 0, leader_status = 99;
    if (argc < 4) return 99;
    if (strcmp(argv[2], "list") == 0) mode = LIST;
    else if (sscanf(argv[2], "fail:%d.%ld:%d", &wanted_process, &wanted, &error) == 3) mode = FAIL;
    else if (sscanf(argv[2], "short:%d.%ld", &wanted_process, &wanted) == 2) mode = SHORT;
    else if (sscanf(argv[2], "kill:%d.%ld", &wanted_process, &wanted) == 2) mode = SIGNAL;
    else if (sscanf(argv[2], "kill-leader:%d.%ld", &wanted_process, &wanted) == 2) mode = SIGNAL_LEADER;
    else if (sscanf(argv[2], "interrupt:%d.%ld", &wanted_process, &wanted) == 2) mode = SIGNAL, sent = SIGINT;
    else if (sscanf(argv[2], "interrupt-leader:%d.%ld", &wanted_process, &wanted) == 2) mode = SIGNAL_LEADER, sent = SIGINT;
    else return 99;
    FILE *list = fopen(argv[1], "we");
    if (!list) die(argv[1]);
    int over = 0;

    int ended[2];
    if (pipe2(ended, O_CLOEXEC) != 0) die("pipe2");
    if (fork() != 0) {
        close(ended[1]);
        return read(ended[0], &leader_status, sizeof leader_status) == sizeof leader_status ? leader_status : 99;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    fprintf(list, "%d\n", getpid());
    fflush(list);
    pid_t leader = fork();
    if (leader == 0) {
        raise(SIGSTOP);
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                   PTRACE_O_TRACEEXEC;
    waitpid(leader, NULL, WUNTRACED);
    if (ptrace(PTRACE_SEIZE, leader, 0, options) != 0) die("ptrace");
    find(leader);
    kill(leader, SIGCONT);

    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0) break;
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == leader) {
                leader_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                break;
            }
            continue;
        }
        if (!WIFSTOPPED(status)) continue;
        int at = find(pid), signal = WSTOPSIG(status), event = status >> 16;
        if (over || (event == PTRACE_EVENT_EXEC && !is_ours(pid))) {
            ptrace(PTRACE_DETACH, pid, 0, event || signal == (SIGTRAP | 0x80) ? 0 : signal);
            continue;
        }
        if (event == PTRACE_EVENT_STOP && (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU)) {
            ptrace(PTRACE_LISTEN, pid, 0, 0); /* a group stop lasts until SIGCONT */
            continue;
        }
        if (event != 0) signal = 0;
        else if (signal == (SIGTRAP | 0x80)) {
            struct user_regs_struct registers;
            signal = 0;
            if (ptrace(PTRACE_GETREGS, pid, 0, &registers) != 0) continue; /* it has been killed */
            if (known[at].inside) {
                known[at].inside = 0;
                if (known[at].changed) {
                    finish(at, error);
                    over = 1;
                }
            } else {
                known[at].inside = 1;
                if (!is_one_of(registers.orig_rax, not_counted)) {
                    long index = known[at].index++;
                    fprintf(list, "%d.%ld %d %s %lld ", at, index, pid, pid == leader ? "leader" : "child", registers.orig_rax);
                    if (mode == LIST) describe(list, pid, &registers);
                    fputc('\n', list);
                    if (at == wanted_process && index == wanted) {
                        fflush(list);
                        if (mode == FAIL || mode == SHORT)
                            change(at, mode == FAIL, &registers);
                        else if (mode == SIGNAL || mode == SIGNAL_LEADER) {
                            kill(mode == SIGNAL ? pid : leader, sent);
                            over = 1;
                        }
                    }
                }
            }
        }
        ptrace(PTRACE_SYSCALL, pid, 0, signal);
    }
    fclose(list);
    prctl(PR_SET_PDEATHSIG, 0);
    if (write(ended[1], &leader_status, sizeof leader_status) < 0) die("write");
    close(ended[1]);
    let_go(error);
    return 0;
}
