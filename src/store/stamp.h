/*
 * stamp.h: may a store that was left in a directory be trusted?
 *
 * Its pages reach the disk in any order.  So long as the machine runs and the
 * file system stays mounted, the operating system's cache makes it whole; a
 * clean stop makes it whole on the disk.  The file `stamp` says which of the
 * two may be relied on.  Without one, or with another boot's, nothing may; nor
 * may what was laid out by another version.
 */
#ifndef STORE_STAMP_H
#define STORE_STAMP_H

#include <stdbool.h>

/* dir_fd: the store's directory.  No stamp is no error: false. */
bool stamp_trusted(int dir_fd);
/* "While this boot and mount last", on stable storage when it returns. */
int stamp_running(int dir_fd);
/* "Whole on the disk": what it speaks of must be there before. */
int stamp_clean(int dir_fd);
/* "Nothing": the disk failed. */
void stamp_clear(int dir_fd);

#endif
