#include "base/spelling.h"
#include "check.h"

static void a_slip_of_the_fingers_counts_one(void) {
  CHECK_INT(spelling_distance("port", "port"), 0);
  CHECK_INT(spelling_distance("port", "Port"), 0);
  CHECK_INT(spelling_distance("port", "prot"), 1);
  CHECK_INT(spelling_distance("port", "pot"), 1);
  CHECK_INT(spelling_distance("port", "porrt"), 1);
  CHECK_INT(spelling_distance("port", "part"), 1);
  CHECK_INT(spelling_distance("", "port"), 4);
  CHECK_INT(spelling_distance("port", ""), 4);
  CHECK_INT(spelling_distance("kitten", "sitting"), 3);
}

static void words_beyond_the_bound_are_far_from_everything(void) {
  char word[SPELLING_FAR + 2];
  memset(word, 'a', sizeof word - 1);
  word[sizeof word - 1] = 0;
  CHECK_INT(spelling_distance(word, word), SPELLING_FAR);
  CHECK_INT(spelling_distance("a", word), SPELLING_FAR);
  word[SPELLING_FAR] = 0;
  CHECK_INT(spelling_distance(word, word), 0);
}

static void a_third_of_a_word_may_be_wrong_and_one_letter_always(void) {
  CHECK(spelling_is_near("rn", 1));
  CHECK(!spelling_is_near("rn", 2));
  CHECK(spelling_is_near("strategy", 2));
  CHECK(!spelling_is_near("strategy", 3));
}

int main(void) {
  RUN(a_slip_of_the_fingers_counts_one);
  RUN(words_beyond_the_bound_are_far_from_everything);
  RUN(a_third_of_a_word_may_be_wrong_and_one_letter_always);
  return CHECK_END();
}
