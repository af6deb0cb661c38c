/** The day that it is; changes at midnight, so that "Today" stays true on a page that stays open. */
import { useEffect, useState } from "react";

/** A sleeping machine runs no timers, so the day is asked for now and then, too. */
const ASK_AGAIN_MS = 10 * 60 * 1000;

export function useToday(): Date {
  const [today, setToday] = useState(() => startOfDay(new Date()));
  useEffect(() => {
    const ask = () => {
      const now = startOfDay(new Date());
      if (now.getTime() !== today.getTime()) setToday(now);
    };
    const midnight = setTimeout(ask, startOfDay(today, 1).getTime() - Date.now());
    const timer = setInterval(ask, ASK_AGAIN_MS);
    return () => {
      clearTimeout(midnight);
      clearInterval(timer);
    };
  }, [today]);
  return today;
}

function startOfDay(date: Date, daysLater = 0): Date {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + daysLater);
}
