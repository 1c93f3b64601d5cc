/* A process of the container that looks into all others, as fast as it can, for as long as it lives.
 *
 *   peer HOST-FILE
 *
 * prints, each once:
 *   cmdline WORDS   the command line of another process
 *   environ WORDS   its environment, the first part
 *   exe PATH        what /proc/PID/exe of another process is
 *   writable PATH   ... and that it could be opened for writing (CVE-2019-5736); nothing is written
 *   fd PATH         what a descriptor of another process is open on (CVE-2016-9962)
 *   escaped PATH    by which HOST-FILE could be reached through ".." (CVE-2024-21626)
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char seen[4096][128];
static int count;

static void tell(const char *what, const char *path)
{
    char line[128];
    snprintf(line, sizeof line, "%s %s", what, path);
    for (int i = 0; i < count; i++)
        if (!strcmp(seen[i], line))
            return;
    if (count < 4096)
        strcpy(seen[count++], line);
    puts(line);
    fflush(stdout);
}

static void look_at_words(int pid, const char *name)
{
    char path[64], text[100];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY);
    ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0)
        return;
    for (ssize_t i = 0; i < size; i++)
        if (text[i] < ' ')
            text[i] = ' ';
    text[size] = 0;
    tell(name, text);
}

static void look_at_exe(int pid)
{
    char path[64], target[256];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    int fd = open(path, O_RDONLY);
    ssize_t size = readlink(path, target, sizeof target - 1);
    if (size > 0) {
        target[size] = 0;
        tell("exe", target);
    }
    if (fd < 0)
        return;
    /* By the descriptor: the process may have executed another program since. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    size = readlink(path, target, sizeof target - 1);
    target[size > 0 ? size : 0] = 0;
    for (int i = 0; i < 50; i++) {
        int writable = open(path, O_WRONLY);
        if (writable >= 0 && (strncmp(target, "/memfd:", 7) || pwrite(writable, "x", 1, 0) == 1))
            tell("writable", target);
        close(writable);
    }
    close(fd);
}

static void look_at_directory(const char *path, const char *host_file)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return;
    char up[512];
    snprintf(up, sizeof up, "../../../../../../../../../..%s", host_file);
    int file = openat(fd, up, O_RDONLY);
    if (file >= 0) {
        tell("escaped", path);
        close(file);
    }
    close(fd);
}

static void look_at_descriptors(int pid, const char *host_file)
{
    char path[64], target[256];
    const char *links[] = {"cwd", "root"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, links[i]);
        look_at_directory(path, host_file);
    }
    for (int fd = 0; fd < 16; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
        ssize_t size = readlink(path, target, sizeof target - 1);
        if (size <= 0)
            continue;
        target[size] = 0;
        tell("fd", target);
        look_at_directory(path, host_file);
    }
}

int main(int argc, char **argv)
{
    int self = getpid();
    puts("peer runs");
    fflush(stdout);
    for (;;) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        while ((entry = readdir(proc))) {
            int pid = atoi(entry->d_name);
            if (pid <= 1 || pid == self)
                continue;
            look_at_words(pid, "cmdline");
            look_at_words(pid, "environ");
            look_at_exe(pid);
            look_at_descriptors(pid, argv[1]);
        }
        closedir(proc);
    }
}
