import { type UseMutationOptions, type UseMutationResult, useMutation } from "@tanstack/react-query";
import { useRef } from "react";

/**
 * A mutation of which there is one at a time: until it is settled, asking for it again does nothing. A button is
 * disabled only once it is drawn so, and a second click may come before that.
 */
export function useOneMutation<Data, Input>(
  options: UseMutationOptions<Data, Error, Input>,
): UseMutationResult<Data, Error, Input> {
  const underWay = useRef(false);
  const mutation = useMutation({
    ...options,
    onSettled: (...settled) => {
      underWay.current = false;
      return options.onSettled?.(...settled);
    },
  });
  return {
    ...mutation,
    mutate: (...asked) => {
      if (underWay.current) return;
      underWay.current = true;
      mutation.mutate(...asked);
    },
  };
}
