#include "wire/multipart.h"
#include "check.h"

#include <stdlib.h>

#define PART(name) "Content-Disposition: form-data; name=\"" name "\"\r\n\r\n"

static struct multipart_field model;

static const char *boundary_of(const char *content_type) {
  static char out[128];
  span_to_text(out, sizeof out, multipart_boundary(span_str(content_type)));
  return out;
}

#define CHECK_BOUNDARY(content_type, expected)                                                               \
  CHECK_STR(boundary_of(content_type), strlen(boundary_of(content_type)), expected)

static void find(struct span body) {
  model = (struct multipart_field){.name = SPAN("model")};
  multipart_find(&model, 1, body, SPAN("b"));
}

#define CHECK_MODEL(body, expected)                                                                          \
  do {                                                                                                       \
    find(SPAN(body));                                                                                        \
    CHECK_INT(model.count, 1);                                                                               \
    CHECK_STR(model.value.ptr, model.value.len, expected);                                                   \
  } while (0)

#define CHECK_NO_MODEL(body)                                                                                 \
  do {                                                                                                       \
    find(SPAN(body));                                                                                        \
    CHECK_INT(model.count, 0);                                                                               \
  } while (0)

static void the_boundary_is_read_as_browsers_and_libraries_write_it(void) {
  CHECK_BOUNDARY("multipart/form-data; boundary=----WebKitFormBoundaryAb9", "----WebKitFormBoundaryAb9");
  CHECK_BOUNDARY("Multipart/Form-Data;charset=utf-8 ; Boundary=\"a b:c\"", "a b:c");
  CHECK_BOUNDARY("multipart/form-data;boundary=x;charset=utf-8", "x");
}

static void what_is_no_form_has_no_boundary(void) {
  CHECK_BOUNDARY("multipart/form-data", "");
  CHECK_BOUNDARY("multipart/form-data; boundary=", "");
  CHECK_BOUNDARY("multipart/form-data; boundary=\"x", "");
  CHECK_BOUNDARY("multipart/form-data; boundary=x; boundary=y", "");
  CHECK_BOUNDARY("multipart/form-dataX; boundary=x", "");
  CHECK_BOUNDARY("multipart/mixed; boundary=x", "");
  CHECK_BOUNDARY("application/json; boundary=x", "");
  CHECK_BOUNDARY("multipart/form-data; boundary="
                 "00000000001111111111222222222233333333334444444444555555555566666666667",
                 "");
}

static void a_field_is_found_before_and_behind_files(void) {
  CHECK_MODEL("--b\r\n" PART("model") "m-1\r\n--b\r\n" PART("prompt") "x\r\n--b--\r\n", "m-1");
  CHECK_MODEL("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\\\".wav\"\r\n"
              "Content-Type: audio/wav\r\n\r\n\r\n\r\n-- \r\n--c\r\r\n--b\r\n" PART("model") "m-1\r\n--b--",
              "m-1");
}

static void the_form_may_have_a_preamble_and_blanks_behind_delimiters(void) {
  CHECK_MODEL("nobody reads this\r\n--b \t\r\n" PART("model") "m\r\n--b--\r\nnor this", "m");
}

static void names_are_found_in_every_spelling_of_the_head(void) {
  CHECK_MODEL("--b\r\ncontent-type: text/plain\r\ncontent-disposition:form-data;name=model\r\n\r\nm\r\n--b--",
              "m");
  CHECK_MODEL("--b\r\nCONTENT-DISPOSITION: Form-Data ; NAME = \"model\"\r\n\r\nm\r\n--b--", "m");
}

static void a_value_is_every_byte_up_to_the_delimiter(void) {
  CHECK_MODEL("--b\r\n" PART("model") "\r\n--b--", "");
  CHECK_MODEL("--b\r\n" PART("model") " m\r\n--bc\r\n\r\n--b--", " m\r\n--bc\r\n");
  CHECK_MODEL("--b\r\n" PART("model") "\r\r\n--b--", "\r");
}

static void other_names_and_files_are_not_the_field(void) {
  CHECK_NO_MODEL("--b\r\n" PART("models") "m\r\n--b\r\n" PART("Model") "m\r\n--b--");
  CHECK_NO_MODEL(
      "--b\r\nContent-Disposition: form-data; name=\"model\"; filename=\"model\"\r\n\r\nm\r\n--b--");
  CHECK_NO_MODEL("--b\r\nContent-Disposition: attachment; name=\"model\"\r\n\r\nm\r\n--b--");
  CHECK_NO_MODEL("--b\r\nContent-Type: text/plain\r\n\r\nname=\"model\"\r\n--b--");
}

static void a_form_that_breaks_off_has_what_came_whole(void) {
  CHECK_MODEL("--b\r\n" PART("model") "m\r\n--b\r\n" PART("model") "n\r\n-", "m");
  CHECK_NO_MODEL("--b\r\n" PART("model") "m\r\n--");
  CHECK_NO_MODEL("--b\r\nContent-Disposition: form-data; name=\"model\"\r\n--b--");
  CHECK_NO_MODEL("--b--\r\n--b\r\n" PART("model") "m\r\n--b--");
  CHECK_NO_MODEL("--a\r\n" PART("model") "m\r\n--a--");
  CHECK_NO_MODEL("");
}

static void repeated_fields_are_counted(void) {
  find(SPAN("--b\r\n" PART("model") "m\r\n--b\r\n" PART("model") "n\r\n--b--"));
  CHECK_INT(model.count, 2);
}

static void a_part_whose_head_does_not_end_in_time_is_passed_over(void) {
  enum { FILLED = 5000 };
  static const char front[] = "--b\r\nX: ",
                    back[] = "\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n--b--";
  static char text[FILLED + sizeof front + sizeof back];
  memcpy(text, front, sizeof front - 1);
  memset(text + sizeof front - 1, 'x', FILLED);
  memcpy(text + sizeof front - 1 + FILLED, back, sizeof back);
  find(span_str(text));
  CHECK_INT(model.count, 0);
}

int main(void) {
  RUN(the_boundary_is_read_as_browsers_and_libraries_write_it);
  RUN(what_is_no_form_has_no_boundary);
  RUN(a_field_is_found_before_and_behind_files);
  RUN(the_form_may_have_a_preamble_and_blanks_behind_delimiters);
  RUN(names_are_found_in_every_spelling_of_the_head);
  RUN(a_value_is_every_byte_up_to_the_delimiter);
  RUN(other_names_and_files_are_not_the_field);
  RUN(a_form_that_breaks_off_has_what_came_whole);
  RUN(repeated_fields_are_counted);
  RUN(a_part_whose_head_does_not_end_in_time_is_passed_over);
  return CHECK_END();
}
