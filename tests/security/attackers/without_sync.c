/* A libc for LD_PRELOAD whose programs never wait for the disk: what they write is there after a loss of power only by
 * chance. */
int fsync(int descriptor) { (void)descriptor; return 0; }
int fdatasync(int descriptor) { (void)descriptor; return 0; }
int syncfs(int descriptor) { (void)descriptor; return 0; }
